#include "training/dreambooth_models.h"

#include <ATen/Context.h>

#include "core/errors.h"
#include "core/text.h"
#include "engine/device.h"
#include "engine/random.h"
#include "pipelines/denoise.h"
#include "schedulers/make_scheduler.h"

namespace lorikeet {
namespace {

LoraLayers inject(torch::nn::Module& model, const std::vector<std::string>& targets,
                  const TrainDreamboothOptions& options, torch::ScalarType dtype, TrainingGenerators& generators) {
  LoraConfig config;
  config.rank = options.rank;
  config.alpha = options.lora_alpha;
  config.dropout = options.lora_dropout;
  config.targets = targets;
  auto layers = inject_lora(model, config, generators.cpu, generators.device);
  if (dtype != torch::kFloat) {
    for (auto& [path, adapter] : layers) {
      adapter->down = adapter->down.detach().to(dtype).set_requires_grad(true);
      adapter->up = adapter->up.detach().to(dtype).set_requires_grad(true);
    }
  }
  return layers;
}

void check_prompts(const DreamboothModels& models, const TrainDreamboothOptions& options) {
  const auto& tokenizer = *models.parts.tokenizer;
  const int64_t length = options.tokenizer_max_length.value_or(tokenizer.model_max_length());
  const int64_t most = models.parts.text_encoder->config().max_position_embeddings;
  if (length > most) {
    throw UsageError(str(options.tokenizer_max_length ? "--tokenizer_max_length" : "the tokenizer's length", " is ",
                         length, ", but the text encoder takes at most ", most, " tokens"),
                     str("give --tokenizer_max_length=", most));
  }
  std::vector<std::string> prompts = {options.instance_prompt};
  if (options.with_prior_preservation) prompts.push_back(*options.class_prompt);
  for (const auto& prompt : prompts) {
    check_token_ids(tokenizer.encode(prompt, length).ids, *models.parts.text_encoder);
    warn_of_cut_text(tokenizer, prompt, length);
  }
}

}  // namespace

TrainingPrecision choose_precision(const TrainDreamboothOptions& options) {
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

std::optional<uint64_t> run_seed(const TrainDreamboothOptions& options) {
  if (!options.seed) return std::nullopt;
  return static_cast<uint64_t>(*options.seed);
}

std::vector<torch::Tensor> DreamboothModels::trained_parameters() const {
  auto parameters = lora_parameters(unet_lora);
  const auto text = lora_parameters(text_lora);
  parameters.insert(parameters.end(), text.begin(), text.end());
  return parameters;
}

DreamboothModels load_dreambooth_models(const std::filesystem::path& folder, const TrainDreamboothOptions& options,
                                        const TrainingPrecision& precision, TrainingGenerators& generators) {
  check_model_index(folder);
  DreamboothModels models;
  auto& parts = models.parts;
  if (options.tokenizer_name) {
    const auto tokenizer = find_tokenizer_folder(*options.tokenizer_name, options.revision);
    parts.tokenizer = std::make_shared<CLIPTokenizer>(CLIPTokenizer::from_folder(tokenizer));
  } else {
    parts.tokenizer = load_tokenizer(folder);
  }
  parts.scheduler_config = load_scheduler_config(folder);
  parts.text_encoder = load_text_encoder(folder, options.variant, precision.weights);
  check_prompts(models, options);
  parts.vae = load_vae(folder, options.variant, precision.weights);
  parts.unet = load_unet(folder, options.variant, precision.weights);
  check_parts_fit(parts);
  models.noise_scheduler = make_scheduler("ddpm", parts.scheduler_config);
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
  models.unet_lora = inject(*parts.unet, options.target_modules, options, precision.adapters, generators);
  if (options.train_text_encoder) {
    models.text_lora =
        inject(*parts.text_encoder, options.text_encoder_target_modules, options, precision.adapters, generators);
  }
  return models;
}

void set_training(DreamboothModels& models, bool training) {
  models.parts.unet->train(training);
  set_lora_training(models.unet_lora, training);
  if (models.text_lora.empty()) return;
  models.parts.text_encoder->train(training);
  set_lora_training(models.text_lora, training);
}

}  // namespace lorikeet
