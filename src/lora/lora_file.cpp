#include "lora/lora_file.h"

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "core/errors.h"
#include "core/text.h"
#include "io/safetensors.h"

namespace lorikeet {
namespace {

struct Suffix {
  std::string_view text;
  bool is_down;
};
constexpr Suffix kSuffixes[] = {
    {".lora.down.weight", true},
    {".lora.up.weight", false},
    {".lora_linear_layer.down.weight", true},
    {".lora_linear_layer.up.weight", false},
    {".lora_A.weight", true},
    {".lora_B.weight", false},
};

using PairsByPath = std::map<std::string, LoraPair>;

/// "unet.a.b.lora.up.weight" -> the pair of a.b in `unet`; throws for a key of another format.
torch::Tensor& half_for(const std::string& key, const std::filesystem::path& file, PairsByPath& unet,
                        PairsByPath& text_encoder) {
  for (const auto& [text, is_down] : kSuffixes) {
    if (!key.ends_with(text)) continue;
    std::string path = key.substr(0, key.size() - text.size());
    PairsByPath* pairs = nullptr;
    if (path.starts_with("unet.")) {
      pairs = &unet;
      path = path.substr(5);
    } else if (path.starts_with("text_encoder.")) {
      pairs = &text_encoder;
      path = path.substr(13);
      if (!path.starts_with("text_model.")) path = "text_model." + path;
    }
    if (pairs == nullptr) break;
    auto& pair = (*pairs)[path];
    pair.path = path;
    return is_down ? pair.down : pair.up;
  }
  throw FormatError(
      lorikeet::str(file.string(), ": the key '", key, "' is in neither Diffusers' nor PEFT's LoRA format"),
      "expected keys such as unet.….to_q.lora.down.weight");
}

/// Alpha per layer as Diffusers' metadata gives it (the LoraConfig of each model, keys prefixed with its name).
class AdapterMetadata {
 public:
  AdapterMetadata(const SafetensorsFile& file, const std::string& component)
      : file_(file.path()), prefix_(component + ".") {
    const auto entry = file.metadata().find("lora_adapter_metadata");
    if (entry == file.metadata().end()) return;
    json_ = nlohmann::json::parse(entry->second, nullptr, /*allow_exceptions=*/false);
    if (!json_.is_object())
      throw FormatError(lorikeet::str(file.path().string(), ": lora_adapter_metadata is no JSON object"));
    for (const char* flag : {"use_dora", "use_rslora"}) {
      const auto value = json_.find(prefix_ + flag);
      if (value == json_.end() || !value->is_boolean() || !value->get<bool>()) continue;
      throw FormatError(
          lorikeet::str(file.path().string(), ": ", prefix_, flag, " is set, which is not supported yet"));
    }
  }

  double alpha(const std::string& path, double rank) const {
    const auto pattern = json_.find(prefix_ + "alpha_pattern");
    if (pattern != json_.end() && pattern->is_object()) {
      for (const auto& [name, value] : pattern->items()) {
        if (path == name || path.ends_with("." + name)) return as_alpha(value);
      }
    }
    const auto value = json_.find(prefix_ + "lora_alpha");
    if (value == json_.end() || value->is_null()) return rank;
    return as_alpha(*value);
  }

 private:
  double as_alpha(const nlohmann::json& value) const {
    if (value.is_number() && std::isfinite(value.get<double>())) return value.get<double>();
    throw FormatError(lorikeet::str(file_.string(), ": an alpha in lora_adapter_metadata is ",
                                    value.dump().substr(0, 60), ", a finite number expected"));
  }

  std::filesystem::path file_;
  std::string prefix_;
  nlohmann::json json_ = nlohmann::json::object();
};

/// One factor in float32; `name` is for messages.
torch::Tensor checked_half(const torch::Tensor& half, const std::string& name) {
  if (half.dim() != 2 && half.dim() != 4) {
    throw FormatError(lorikeet::str(name, " has a factor of shape ", half.sizes(), ", expected 2 or 4 dimensions"));
  }
  if (!half.is_floating_point()) {
    throw FormatError(lorikeet::str(name, " has a factor of ", half.scalar_type(), ", a floating-point type expected"));
  }
  auto values = half.to(torch::kFloat);
  if (!values.isfinite().all().item<bool>()) {
    throw FormatError(lorikeet::str(name, " holds values that are not finite"),
                      "its training went wrong, or the file is damaged: use an earlier checkpoint or another file");
  }
  return values;
}

std::vector<LoraPair> finish(PairsByPath&& pairs, const SafetensorsFile& file, const std::string& component) {
  const AdapterMetadata metadata(file, component);
  std::vector<LoraPair> result;
  for (auto& [path, pair] : pairs) {
    if (!pair.down.defined() || !pair.up.defined()) {
      throw FormatError(lorikeet::str(file.path().string(), ": ", component, ".", path, " has only its ",
                                      pair.down.defined() ? "down" : "up", " half"));
    }
    const auto name = lorikeet::str(file.path().string(), ": ", component, ".", path);
    pair.down = checked_half(pair.down, name);
    pair.up = checked_half(pair.up, name);
    pair.alpha = metadata.alpha(path, static_cast<double>(pair.down.size(0)));
    result.push_back(std::move(pair));
  }
  return result;
}

void append(NamedTensors& tensors, const std::string& component, const char* infix, const LoraLayers& layers) {
  torch::NoGradGuard no_grad;
  for (const auto& [path, adapter] : layers) {
    const double strength = adapter->alpha / static_cast<double>(adapter->rank());
    auto up = adapter->up.detach().to(torch::kFloat);
    if (strength != 1) up = up * strength;
    tensors.emplace_back(component + "." + path + infix + ".down.weight", adapter->down.detach().to(torch::kFloat));
    tensors.emplace_back(component + "." + path + infix + ".up.weight", up);
  }
}

}  // namespace

LoraFile read_lora_file(const std::filesystem::path& path) {
  const auto file_path = std::filesystem::is_directory(path) ? path / kLoraFileName : path;
  const auto file = SafetensorsFile::open(file_path);
  PairsByPath unet, text_encoder;
  for (const auto& key : file.names()) {
    auto& half = half_for(key, file_path, unet, text_encoder);
    if (half.defined())
      throw FormatError(lorikeet::str(file_path.string(), ": the key '", key, "' is there in two spellings"));
    half = file.tensor(key);
  }
  if (unet.empty() && text_encoder.empty())
    throw FormatError(lorikeet::str(file_path.string(), ": there is no tensor in it"));
  return {finish(std::move(unet), file, "unet"), finish(std::move(text_encoder), file, "text_encoder")};
}

void write_lora_file(const std::filesystem::path& path, const LoraLayers& unet, const LoraLayers& text_encoder) {
  NamedTensors tensors;
  append(tensors, "unet", ".lora", unet);
  append(tensors, "text_encoder", ".lora_linear_layer", text_encoder);
  write_safetensors(path, tensors);
}

LoraLayers attach_lora_pairs(torch::nn::Module& model, const std::vector<LoraPair>& pairs) {
  LoraLayers layers;
  for (const auto& pair : pairs) {
    layers.emplace_back(pair.path, attach_lora(model, pair.path, pair.down, pair.up, pair.alpha));
  }
  return layers;
}

}  // namespace lorikeet
