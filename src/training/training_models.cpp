#include "training/training_models.h"

#include <ATen/Context.h>

#include <algorithm>
#include <charconv>

#include "core/errors.h"
#include "core/text.h"
#include "engine/device.h"
#include "engine/random.h"
#include "lora/pissa.h"
#include "pipelines/denoise.h"
#include "schedulers/make_scheduler.h"
#include "training/train_option_checks.h"

namespace lorikeet {
namespace {

constexpr int64_t kWholeSchedule = 1000;  // --max_timestep's default, whatever the model's schedule has

/// "attn2.to_k=8" -> {"attn2.to_k", 8}
std::vector<std::pair<std::string, int64_t>> parse_rank_pattern(const TrainOptions& options) {
  std::vector<std::pair<std::string, int64_t>> pattern;
  for (const auto& item : options.rank_pattern.value_or(std::vector<std::string>{})) {
    const auto at = item.rfind('=');
    int64_t rank = 0;
    const char* end = item.data() + item.size();
    const bool has_name = at != std::string::npos && at > 0;
    const auto [stop, error] = std::from_chars(has_name ? item.data() + at + 1 : end, end, rank);
    if (!has_name || error != std::errc() || stop != end || rank < 1) {
      throw UsageError(str("--rank_pattern: NAME=RANK expected, found '", item, "'"), "attn2.to_k=8, for instance");
    }
    pattern.emplace_back(item.substr(0, at), rank);
  }
  return pattern;
}

LoraLayers inject(torch::nn::Module& model, const std::vector<std::string>& targets, const TrainOptions& options,
                  torch::ScalarType dtype, TrainingGenerators& generators) {
  LoraConfig config;
  config.algorithm = parse_lora_algorithm(options.algo);
  config.rank = options.rank;
  config.conv_rank = options.conv_rank;
  config.conv_alpha = options.conv_alpha;
  config.lokr_factor = options.lokr_factor;
  config.rank_pattern = parse_rank_pattern(options);
  config.alpha = options.lora_alpha;
  config.rank_stabilized = options.use_rslora;
  config.dropout = options.lora_dropout;
  config.targets = targets;
  config.dtype = dtype;
  return inject_lora(model, config, generators.cpu, generators.device);
}

/// A name that no layer of either model answers to would be ignored without a word.
void check_rank_pattern(const TrainOptions& options, const TrainingModels& models) {
  for (const auto& [name, rank] : parse_rank_pattern(options)) {
    const auto answers = [&](const LoraLayers& layers) {
      return std::any_of(layers.begin(), layers.end(), [&](const auto& layer) { return is_meant(layer.first, name); });
    };
    if (answers(models.unet_lora) || answers(models.text_lora)) continue;
    throw UsageError(str("--rank_pattern: no adapted layer is called ", name),
                     "name the end of an adapted layer's path, such as attn2.to_k, or a pattern such as *.attn2.*");
  }
}

void check_timesteps(const TrainOptions& options, int64_t count) {
  const bool beyond = options.max_timestep != kWholeSchedule && options.max_timestep > count;
  if (!beyond && options.min_timestep < count) return;
  throw UsageError(
      str(beyond ? "--max_timestep is " : "--min_timestep is ", beyond ? options.max_timestep : options.min_timestep,
          ", but the model has ", count, " timesteps"),
      "leave it out to train on all of them");
}

void check_prompts(const TrainingModels& models, const TrainOptions& options, const std::vector<std::string>& prompts) {
  const auto& tokenizer = *models.parts.tokenizer;
  const int64_t length = caption_length(models, options);
  const int64_t most = models.parts.text_encoder->config().max_position_embeddings;
  if (length > most) {
    throw UsageError(str(options.tokenizer_max_length ? "--tokenizer_max_length" : "the tokenizer's length", " is ",
                         length, ", but the text encoder takes at most ", most, " tokens"),
                     str("give --tokenizer_max_length=", most));
  }
  for (const auto& prompt : prompts) {
    check_token_ids(tokenizer.encode(prompt, length).ids, *models.parts.text_encoder);
    warn_of_cut_text(tokenizer, prompt, length);
  }
}

}  // namespace

TrainingPrecision choose_precision(const TrainOptions& options) {
  TrainingPrecision precision;
  precision.device = choose_device(options.device);
  if (precision.device.is_cuda() && options.local_rank > 0) {
    precision.device = choose_device(str("cuda:", options.local_rank));
  }
  validate_for_device(options, precision.device.is_cpu());
  precision.weights = parse_dtype(options.mixed_precision.value_or("no"), precision.device);
  const bool mixed = precision.weights != torch::kFloat;
  precision.autocast = {mixed, precision.device.type(), mixed ? precision.weights : torch::kBFloat16};
  precision.scales_loss = precision.weights == torch::kHalf;
  if (options.compat_bugs && precision.weights == torch::kBFloat16) precision.adapters = torch::kBFloat16;
  if (options.allow_tf32) at::globalContext().setAllowTF32CuBLAS(true);
  return precision;
}

TrainingGenerators make_training_generators(std::optional<uint64_t> seed, torch::Device device) {
  TrainingGenerators generators;
  generators.cpu = make_generator(seed);
  generators.device = device.is_cpu() ? generators.cpu : make_generator(seed, device);
  return generators;
}

std::optional<uint64_t> run_seed(const TrainOptions& options) {
  if (!options.seed) return std::nullopt;
  return static_cast<uint64_t>(*options.seed);
}

std::vector<TrainedParameter> TrainingModels::trained_parameters(double up_rate_factor) const {
  std::vector<TrainedParameter> parameters;
  const auto add = [&](const std::string& component, const LoraLayers& layers) {
    for (const auto& [path, adapter] : layers) {
      for (const auto& [role, factor] : adapter->values.factors) {
        parameters.push_back({component + path + "." + role, factor, role == "up" ? up_rate_factor : 1});
      }
    }
  };
  add("unet.", unet_lora);
  add("text_encoder.", text_lora);
  return parameters;
}

NamedTensors TrainingModels::taken_out() const {
  NamedTensors tensors;
  const auto add = [&](const std::string& component, const LoraLayers& layers) {
    for (const auto& [path, adapter] : layers) {
      for (const auto& [role, factor] : adapter->taken_out) tensors.emplace_back(component + path + "." + role, factor);
    }
  };
  add("unet.", unet_lora);
  add("text_encoder.", text_lora);
  return tensors;
}

void TrainingModels::replace_taken_out(const NamedTensors& tensors) {
  const std::map<std::string, torch::Tensor> by_name(tensors.begin(), tensors.end());
  const auto put = [&](const std::string& component, torch::nn::Module& model, const LoraLayers& layers) {
    const AdaptableLayers adaptable(model);
    for (const auto& [path, adapter] : layers) {
      std::map<std::string, torch::Tensor> factors;
      for (const auto& [role, ours] : adapter->taken_out) {
        const auto found = by_name.find(component + path + "." + role);
        if (found == by_name.end()) {
          throw FormatError(str("what was taken out of ", component, path, " is missing"));
        }
        factors[role] = found->second;
      }
      if (!factors.empty()) lorikeet::replace_taken_out(*adaptable.find(path), *adapter, factors);
    }
  };
  put("unet.", *parts.unet, unet_lora);
  if (!text_lora.empty()) put("text_encoder.", *parts.text_encoder, text_lora);
}

int64_t caption_length(const TrainingModels& models, const TrainOptions& options) {
  return options.tokenizer_max_length.value_or(models.parts.tokenizer->model_max_length());
}

TrainingModels load_training_models(const ModelSource& model, const TrainOptions& options,
                                    const TrainingPrecision& precision, TrainingGenerators& generators,
                                    const std::vector<std::string>& prompts) {
  check_model_index(model);
  TrainingModels models;
  auto& parts = models.parts;
  if (options.tokenizer_name) {
    const auto tokenizer = find_tokenizer_folder(*options.tokenizer_name, options.revision);
    parts.tokenizer = std::make_shared<CLIPTokenizer>(CLIPTokenizer::from_folder(tokenizer));
  } else {
    parts.tokenizer = load_tokenizer(model);
  }
  parts.scheduler_config = load_scheduler_config(model);
  parts.text_encoder = load_text_encoder(model, options.variant, precision.weights);
  check_prompts(models, options, prompts);
  parts.vae = load_vae(model, options.variant, precision.weights);
  parts.unet = load_unet(model, options.variant, precision.weights);
  check_parts_fit(parts);
  models.vae_scaling_factor = parts.vae->config().scaling_factor;
  if (options.prediction_type) parts.scheduler_config["prediction_type"] = *options.prediction_type;
  models.noise_scheduler = make_scheduler("ddpm", parts.scheduler_config);
  check_timesteps(options, models.noise_scheduler->num_train_timesteps());
  if (models.noise_scheduler->prediction_type() == "sample") {
    throw FormatError("the model's scheduler has prediction_type \"sample\", expected epsilon or v_prediction",
                      "models that predict the picture itself cannot be trained");
  }
  parts.text_encoder->to(precision.device);
  parts.vae->to(precision.device);
  parts.unet->to(precision.device);
  if (options.gradient_checkpointing) {
    parts.unet->enable_gradient_checkpointing();
    if (options.train_text_encoder) parts.text_encoder->enable_gradient_checkpointing();
  }
  models.unet_lora = inject(*parts.unet, options.unet_targets(), options, precision.adapters, generators);
  if (options.train_text_encoder) {
    models.text_lora =
        inject(*parts.text_encoder, options.text_encoder_targets(), options, precision.adapters, generators);
  }
  check_rank_pattern(options, models);
  return models;
}

void set_training(TrainingModels& models, bool training) {
  models.parts.unet->train(training);
  set_lora_training(models.unet_lora, training);
  if (models.text_lora.empty()) return;
  models.parts.text_encoder->train(training);
  set_lora_training(models.text_lora, training);
}

}  // namespace lorikeet
