#include "lora/lora_writer.h"

#include <cmath>

#include "core/errors.h"
#include "core/text.h"
#include "lora/formats/dialect_tensors.h"
#include "lora/formats/kohya_metadata.h"

namespace lorikeet {
namespace {

/// Metadata that says where a file's tensors are or what they are: of another file it would be wrong.
bool describes_layout(const std::string& key, const std::string& value) {
  if (key == "format" || key == "lora_adapter_metadata" || key == "unet" || key == "text_encoder") return true;
  return value == "<embed>" || key.starts_with("unet:") || key.starts_with("text_encoder:") ||
         key.starts_with("sshs_") || key == "modelspec.hash_sha256";
}

/// Words and alphas are small and stay as they are.
bool stays_float(const std::string& name) { return name.ends_with(".alpha") || name.starts_with("bundle_emb."); }

void cast(NamedTensors& tensors, torch::ScalarType dtype) {
  for (auto& [name, tensor] : tensors) {
    const auto exact = tensor.detach().to(torch::kFloat);
    tensor = stays_float(name) ? exact : exact.to(dtype);
    if (tensor.isfinite().all().item<bool>()) continue;
    if (!exact.isfinite().all().item<bool>()) {
      throw FormatError(lorikeet::str(name, " would hold numbers that are not finite"),
                        "its strength or its factors are too large, or its training went wrong");
    }
    throw FormatError(
        lorikeet::str(name, " would hold ", exact.abs().max().item<float>(), ", more than ", dtype, " can"),
        "write it in bf16 or fp32");
  }
}

void check(const std::filesystem::path& path, const LoraFile& file, LoraDialect dialect) {
  const bool has_words = dialect == LoraDialect::kKohya && !file.words.empty();
  if (model_layers(file).empty() && !has_words) {
    throw FormatError(lorikeet::str(path.string(), ": there is no layer to write"), "give a LoRA with at least one");
  }
  for (const auto& [model, layers] : model_layers(file)) {
    for (const auto& change : *layers) {
      if (std::isfinite(change.strength)) continue;
      throw FormatError(
          lorikeet::str(model, ".", change.path, " has the strength ", change.strength, ", a finite number expected"),
          "its training went wrong: use an earlier checkpoint");
    }
  }
}

void write_kohya(const std::filesystem::path& path, const LoraFile& file, const LoraWriteOptions& options,
                 std::map<std::string, std::string> metadata) {
  const auto told = with_kohya_strengths(file);
  auto tensors = kohya_tensors(told);
  cast(tensors, options.dtype);
  metadata = kohya_metadata(told, path.stem().string(), std::move(metadata));
  add_kohya_hashes(tensors, metadata);
  write_safetensors(path, tensors, metadata);
}

}  // namespace

LoraDialect natural_dialect(const LoraFile& file) {
  for (const auto& [model, layers] : model_layers(file)) {
    for (const auto& change : *layers) {
      if (change.kind != ChangeKind::kLora) return LoraDialect::kKohya;
    }
  }
  return LoraDialect::kDiffusers;
}

void write_lora_file(const std::filesystem::path& path, const LoraFile& file, const LoraWriteOptions& options) {
  torch::NoGradGuard no_grad;
  check(path, file, options.dialect);
  std::map<std::string, std::string> metadata{{"format", "pt"}};
  for (const auto& [key, value] : options.metadata) {
    if (!describes_layout(key, value)) metadata.emplace(key, value);
  }
  NamedTensors tensors;
  if (options.dialect == LoraDialect::kKohya) return write_kohya(path, file, options, std::move(metadata));
  if (options.dialect == LoraDialect::kDiffusers && fits_diffusers_dialect(file)) {
    tensors = diffusers_tensors(file);
  } else if (options.dialect == LoraDialect::kDiffusers || options.dialect == LoraDialect::kPeft) {
    tensors = peft_tensors(file);
    metadata["lora_adapter_metadata"] = peft_metadata(file);
  } else {
    throw FormatError(lorikeet::str(dialect_name(options.dialect), " files are read, not written"),
                      "write diffusers, peft or kohya");
  }
  cast(tensors, options.dtype);
  write_safetensors(path, tensors, metadata);
}

}  // namespace lorikeet
