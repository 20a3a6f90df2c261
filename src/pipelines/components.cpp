#include "pipelines/components.h"

#include <algorithm>
#include <map>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/cache.h"
#include "hub/fetch_by_name.h"
#include "pipelines/single_file.h"
#include "schedulers/make_scheduler.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

constexpr size_t kConfigLimit = 16 << 20;

/// The classes whose numbers are implemented here, by part of a pipeline.
const std::map<std::string, std::vector<std::string>> kKnownParts = {
    {"unet", {"UNet2DConditionModel"}},
    {"vae", {"AutoencoderKL"}},
    {"text_encoder", {"CLIPTextModel"}},
    {"tokenizer", {"CLIPTokenizer", "CLIPTokenizerFast"}},
    {"scheduler", {}},  // by its own config: see make_scheduler
};
/// Parts that change no picture, only which pictures are shown.
const std::vector<std::string> kSkippedParts = {"safety_checker", "feature_extractor", "image_encoder"};

/// Loads config.json and weights of one part; problems in them are told with the part's folder or file.
template <class Model>
std::shared_ptr<Model> load_model(const ModelSource& source, const std::string& name,
                                  const std::optional<std::string>& variant, torch::ScalarType dtype) {
  const auto part = open_part(source, name, variant);
  auto model = Model::from_config(part.config);
  model->load(*part.weights, dtype);
  return model;
}

/// The class name of a part in model_index.json, or nothing where the part is null.
std::optional<std::string> part_class(const std::string& name, const json& value, const fs::path& file) {
  if (!value.is_array() || value.size() != 2) {
    throw FormatError(str(file.string(), ": \"", name, "\" is ", value.dump(), ", expected [library, class]"));
  }
  if (value[1].is_null()) return std::nullopt;
  if (!value[1].is_string()) throw FormatError(str(file.string(), ": \"", name, "\" has no class name"));
  return value[1].get<std::string>();
}

void check_part(const std::string& name, const std::optional<std::string>& class_name, const fs::path& file) {
  const auto& known = kKnownParts.at(name);
  if (!class_name) throw FormatError(str(file.string(), ": the model has no ", name));
  if (known.empty()) return;
  if (std::find(known.begin(), known.end(), *class_name) != known.end()) return;
  throw FormatError(str(file.string(), ": ", name, " is a ", *class_name, ", expected ", known.front()),
                    "Stable Diffusion 1.x and 2.x models and their relatives are supported");
}

}  // namespace

fs::path find_tokenizer_folder(const std::string& name_or_path, const std::optional<std::string>& revision) {
  std::error_code ignored;
  if (fs::is_directory(name_or_path, ignored)) return name_or_path;
  const std::string wanted = revision && !revision->empty() ? *revision : "main";
  if (is_hub_id(name_or_path)) {
    const std::vector<std::string> files = {"tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json",
                                            "special_tokens_map.json"};
    if (const auto snapshot = fetch_small_files(name_or_path, wanted, files)) return *snapshot;
  }
  throw HubError(str("the tokenizer \"", name_or_path, "\" is no folder here, and no Hub id in the cache ",
                     hub_cache_folder().string(), " (revision ", wanted, ")"),
                 "give the folder that holds vocab.json and merges.txt, or leave the option out");
}

std::shared_ptr<UNet2DConditionModel> load_unet(const ModelSource& source, const std::optional<std::string>& variant,
                                                torch::ScalarType dtype) {
  return load_model<UNet2DConditionModel>(source, "unet", variant, dtype);
}

std::shared_ptr<AutoencoderKL> load_vae(const ModelSource& source, const std::optional<std::string>& variant,
                                        torch::ScalarType dtype) {
  return load_model<AutoencoderKL>(source, "vae", variant, dtype);
}

std::shared_ptr<CLIPTextModel> load_text_encoder(const ModelSource& source, const std::optional<std::string>& variant,
                                                 torch::ScalarType dtype) {
  return load_model<CLIPTextModel>(source, "text_encoder", variant, dtype);
}

std::shared_ptr<CLIPTokenizer> load_tokenizer(const ModelSource& source) {
  return std::make_shared<CLIPTokenizer>(CLIPTokenizer::from_folder(tokenizer_folder(source)));
}

json load_scheduler_config(const ModelSource& source) {
  if (source.is_single_file() && !source.config) {
    const auto file = SingleFile::open(source.path);
    if (file.guesses_prediction_type()) {
      log_info(str(source.path.string(),
                   " does not say what it predicts: v_prediction is taken, as of 768-pixel "
                   "models; for a 512-pixel base model give --single_file_config"));
    }
    return file.scheduler_config();
  }
  const fs::path path = source.config.value_or(source.path) / "scheduler" / "scheduler_config.json";
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) {
    throw FileError(str("there is no ", path.string()), "a model folder in Diffusers' layout was expected");
  }
  return parse_scheduler_config(read_file(path, kConfigLimit), path.string());
}

void check_model_index(const ModelSource& source) {
  if (source.is_single_file()) {
    SingleFile::open(source.path);
    if (!source.config) return;
  }
  const fs::path file = source.config.value_or(source.path) / "model_index.json";
  const json index = read_model_json(file);
  const std::string pipeline = index.value("_class_name", json("none")).is_string()
                                   ? index.value("_class_name", json("none")).get<std::string>()
                                   : "none";
  if (pipeline != "StableDiffusionPipeline") {
    throw FormatError(str(file.string(), ": the pipeline is ", pipeline, ", expected StableDiffusionPipeline"),
                      "Stable Diffusion 1.x and 2.x models and their relatives are supported");
  }
  std::string skipped;
  for (const auto& [name, value] : index.items()) {
    if (name.starts_with("_") || name == "requires_safety_checker") continue;
    if (std::find(kSkippedParts.begin(), kSkippedParts.end(), name) != kSkippedParts.end()) {
      if (part_class(name, value, file)) skipped += (skipped.empty() ? "" : ", ") + name;
      continue;
    }
    if (!kKnownParts.count(name)) {
      throw FormatError(str(file.string(), ": \"", name, "\" is not a part of a Stable Diffusion model known here"));
    }
    check_part(name, part_class(name, value, file), file);
  }
  for (const auto& [name, classes] : kKnownParts) {
    if (!index.contains(name)) throw FormatError(str(file.string(), ": the model has no ", name));
  }
  if (!skipped.empty()) log_info(str("this model's ", skipped, " is left out: pictures are shown unchecked"));
}

StableDiffusionComponents load_components(const ModelSource& source, const std::optional<std::string>& variant,
                                          torch::ScalarType dtype) {
  check_model_index(source);
  StableDiffusionComponents components;
  components.scheduler_config = load_scheduler_config(source);
  components.tokenizer = load_tokenizer(source);
  components.text_encoder = load_text_encoder(source, variant, dtype);
  components.vae = load_vae(source, variant, dtype);
  components.unet = load_unet(source, variant, dtype);
  check_parts_fit(components);
  return components;
}

void check_parts_fit(const StableDiffusionComponents& components) {
  const auto& unet = components.unet->config();
  const auto require = [](int64_t given, int64_t wanted, const char* what) {
    if (given == wanted) return;
    throw FormatError(str("the model's parts do not fit together: ", what, " are ", given, " and ", wanted),
                      "Stable Diffusion 1.x and 2.x models that draw from a text alone are supported");
  };
  require(components.vae->config().latent_channels, unet.in_channels, "the VAE's latent and the UNet's input channels");
  require(unet.out_channels, unet.in_channels, "the UNet's output and input channels");
  require(components.text_encoder->config().hidden_size, unet.cross_attention_dim,
          "the text encoder's width and the UNet's cross_attention_dim");
}

std::unique_ptr<Scheduler> make_pipeline_scheduler(const json& scheduler_config,
                                                   const std::optional<std::string>& name) {
  json config = scheduler_config;
  // What the file does not say stays each class's own default when the class changes: only values that were written
  // down travel from one scheduler's config to another's.
  for (const auto& [key, value] : {std::pair<std::string, json>{"steps_offset", 1}, {"clip_sample", false}}) {
    if (!name || config.contains(key)) config[key] = value;
  }
  return name ? make_scheduler(*name, config) : make_scheduler(config);
}

torch::ScalarType module_dtype(const torch::nn::Module& module) {
  return module.parameters(/*recurse=*/true).front().scalar_type();
}

torch::Device module_device(const torch::nn::Module& module) {
  return module.parameters(/*recurse=*/true).front().device();
}

}  // namespace lorikeet
