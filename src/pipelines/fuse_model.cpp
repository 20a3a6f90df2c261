#include "pipelines/fuse_model.h"

#include <cctype>
#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/text.h"
#include "io/safetensors.h"
#include "pipelines/components.h"
#include "pipelines/lora_adapters.h"
#include "pipelines/single_file_writer.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

void check_folder(const fs::path& output) {
  std::error_code error;
  if (!fs::exists(output, error)) return;
  if (!fs::is_directory(output, error))
    throw FileError(str("cannot write ", output.string(), ": there is such a file"));
  if (!fs::is_empty(output, error)) {
    throw FileError(str("cannot write into ", output.string(), ": the folder is not empty"), "name a new folder");
  }
}

/// The source's tensors, or the model's where fusing has changed them, in the source's dtype and under its names.
NamedTensors fused_tensors(const WeightSource& source, torch::nn::Module& model, const FusedLayers& fused,
                           int64_t& changed) {
  NamedTensors tensors;
  const auto parameters = model.named_parameters();
  for (const auto& name : source.names()) {
    auto tensor = source.tensor(name);
    for (const auto& key : {name, "text_model." + name}) {
      const auto* parameter = parameters.find(key);
      if (parameter == nullptr) continue;
      const auto layer = fused.find(key.substr(0, key.rfind('.')));
      if (layer == fused.end()) continue;
      const bool is_weight = key.ends_with(".weight");
      if (!(is_weight ? layer->second.weight : layer->second.bias).defined()) continue;
      tensor = parameter->to(tensor.scalar_type());
      if (!tensor.isfinite().all().item<bool>()) {
        throw NumericError(lorikeet::str("the fused ", key, " holds numbers too large for ", tensor.scalar_type()),
                           "use a smaller --scale");
      }
      ++changed;
    }
    tensors.emplace_back(name, std::move(tensor));
  }
  return tensors;
}

/// Files of one part's weights, in whatever format or number of pieces.
bool is_weight_file(const fs::path& path) {
  const std::string name = path.filename().string();
  const bool is_one = name.starts_with("diffusion_pytorch_model") || name.starts_with("model") ||
                      name.starts_with("pytorch_model") || name.starts_with("flax_model") ||
                      name.starts_with("diffusion_flax_model");
  return is_one && name != "model_index.json";
}

/// Everything but the weights that are written anew.
void copy_rest(const fs::path& model, const fs::path& output) {
  for (auto it = fs::recursive_directory_iterator(model); it != fs::recursive_directory_iterator(); ++it) {
    const auto relative = it->path().lexically_relative(model);
    const std::string part = relative.begin()->string();
    if (part.starts_with(".")) {
      if (it->is_directory()) it.disable_recursion_pending();
      continue;
    }
    if (it->is_directory()) {
      fs::create_directories(output / relative);
      continue;
    }
    if ((part == "unet" || part == "text_encoder") && is_weight_file(relative)) continue;
    if (!relative.has_parent_path() && relative.extension() != ".json" && relative.extension() != ".md") continue;
    fs::copy_file(fs::canonical(it->path()), output / relative);
  }
}

std::vector<fs::path> write_words(const FuseRequest& request, const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& lora : request.loras) {
    for (const auto& word : lora.file.words) {
      std::string name;
      for (const char c : word.word) name += std::isalnum(static_cast<unsigned char>(c)) || c == '-' ? c : '_';
      files.push_back(folder / str("learned_word_", files.size(), "_", name.substr(0, 40), ".safetensors"));
      write_safetensors(files.back(), {{word.word, word.vectors}});
    }
  }
  return files;
}

void load_all(const FuseRequest& request, LoraAdapters& adapters, FusedModel& result) {
  std::vector<std::string> names;
  std::vector<AdapterWeight> weights;
  for (const auto& lora : request.loras) {
    names.push_back(str("lora_", names.size()));
    weights.push_back(lora.weight);
    auto file = lora.file;
    file.words.clear();  // no weight holds them
    result.reports.push_back(adapters.load(file, names.back(), request.strict));
    for (const auto& word : lora.file.words) result.reports.back().words.push_back(word.word);
  }
  adapters.set_active(names, weights);
  adapters.set_scale(request.scale);
}

/// A single file's parts as a folder in Diffusers' layout, without the weights of UNet and text encoder.
void write_rest(const ModelSource& model, const fs::path& output) {
  for (const char* part : {"unet", "vae", "text_encoder", "tokenizer", "scheduler"})
    fs::create_directories(output / part);
  for (const char* name : {"unet", "vae", "text_encoder"}) {
    const auto part = open_part(model, name, std::nullopt);
    write_file_atomically(output / name / "config.json", part.config.dump(2) + "\n");
    if (std::string(name) != "vae") continue;
    NamedTensors tensors;
    for (const auto& key : part.weights->names()) tensors.emplace_back(key, part.weights->tensor(key));
    write_safetensors(output / "vae" / "diffusion_pytorch_model.safetensors", tensors);
  }
  for (const auto& entry : fs::directory_iterator(tokenizer_folder(model))) {
    if (entry.is_regular_file())
      fs::copy_file(fs::canonical(entry.path()), output / "tokenizer" / entry.path().filename());
  }
  const auto scheduler = load_scheduler_config(model);
  write_file_atomically(output / "scheduler" / "scheduler_config.json", scheduler.dump(2) + "\n");
  const nlohmann::json index = {{"_class_name", "StableDiffusionPipeline"},
                                {"feature_extractor", {nullptr, nullptr}},
                                {"requires_safety_checker", false},
                                {"safety_checker", {nullptr, nullptr}},
                                {"scheduler", {"diffusers", scheduler.value("_class_name", "PNDMScheduler")}},
                                {"text_encoder", {"transformers", "CLIPTextModel"}},
                                {"tokenizer", {"transformers", "CLIPTokenizer"}},
                                {"unet", {"diffusers", "UNet2DConditionModel"}},
                                {"vae", {"diffusers", "AutoencoderKL"}}};
  write_file_atomically(output / "model_index.json", index.dump(2) + "\n");
}

}  // namespace

FusedModel write_fused_model(const FuseRequest& request, const fs::path& output) {
  const bool as_file = output.extension() == ".safetensors";
  if (!as_file) check_folder(output);
  auto components = load_components(request.model, request.variant, torch::kFloat);
  FusedModel result;
  LoraAdapters adapters(components);
  load_all(request, adapters, result);
  torch::NoGradGuard no_grad;
  const auto fused_unet = fuse_lora(*components.unet);
  const auto fused_text = fuse_lora(*components.text_encoder);
  const auto unet_part = open_part(request.model, "unet", request.variant);
  const auto text_part = open_part(request.model, "text_encoder", request.variant);
  const auto unet = fused_tensors(*unet_part.weights, *components.unet, fused_unet, result.changed);
  const auto text = fused_tensors(*text_part.weights, *components.text_encoder, fused_text, result.changed);
  try {
    const auto folder = as_file ? fs::absolute(output).parent_path() : output;
    fs::create_directories(folder);
    if (as_file) {
      const auto unet_source = weights_from_tensors(unet, "the fused UNet");
      const auto text_source = weights_from_tensors(text, "the fused text encoder");
      const auto vae = open_part(request.model, "vae", request.variant);
      const bool open_clip = is_open_clip(components.text_encoder->config());
      write_single_file(output, {*unet_source, *vae.weights, *text_source, open_clip},
                        single_file_metadata(components.scheduler_config, open_clip));
    } else {
      const std::string dotted = request.variant ? "." + *request.variant : "";
      if (request.model.is_single_file()) {
        write_rest(request.model, output);
      } else {
        copy_rest(request.model.path, output);
      }
      write_safetensors(output / "text_encoder" / ("model" + dotted + ".safetensors"), text);
      write_safetensors(output / "unet" / ("diffusion_pytorch_model" + dotted + ".safetensors"), unet);
    }
    result.words = write_words(request, folder);
  } catch (const fs::filesystem_error& problem) {
    throw FileError(str("cannot write ", output.string(), ": ", problem.code().message()));
  }
  return result;
}

}  // namespace lorikeet
