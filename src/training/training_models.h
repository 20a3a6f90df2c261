// The models of a training run: loaded, frozen, cast, moved, and given their adapters.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <memory>
#include <optional>

#include "engine/autocast.h"
#include "io/safetensors.h"
#include "lora/inject.h"
#include "pipelines/components.h"
#include "training/optimizer.h"
#include "training/train_options.h"

namespace lorikeet {

/// Device and precision of a run, chosen once.
struct TrainingPrecision {
  torch::Device device = torch::kCPU;
  torch::ScalarType weights = torch::kFloat;   // frozen weights and latents
  torch::ScalarType adapters = torch::kFloat;  // what is trained; lower only for bf16 under --compat_bugs
  AutocastState autocast;                      // around models that train
  bool scales_loss = false;                    // fp16
};

/// Throws UsageError for what the device cannot do.
TrainingPrecision choose_precision(const TrainOptions& options);

/// The two generators that all draws of a run come from; on a CPU they are one and the same.
struct TrainingGenerators {
  torch::Generator cpu;     // data order, crops, initial values
  torch::Generator device;  // latents, noise, timesteps, dropout masks
};
TrainingGenerators make_training_generators(std::optional<uint64_t> seed, torch::Device device);

/// --seed as generators take it.
std::optional<uint64_t> run_seed(const TrainOptions& options);

struct TrainingModels {
  StableDiffusionComponents parts;
  std::unique_ptr<Scheduler> noise_scheduler;
  double vae_scaling_factor = 1;    // known beyond the VAE's own life
  LoraLayers unet_lora, text_lora;  // text_lora is empty unless the text encoder trains

  /// All factors under their names in a checkpoint (unet.PATH.ROLE), the UNet's first; the up ones learn
  /// `up_rate_factor` times as fast.
  std::vector<TrainedParameter> trained_parameters(double up_rate_factor = 1) const;

  /// What PiSSA took out of the base weights, under names like those of the parameters; empty for all other algorithms.
  NamedTensors taken_out() const;
  /// As if these had been taken out. Throws FormatError when one is missing or does not fit.
  void replace_taken_out(const NamedTensors& tensors);
};

/// Loads `model` and injects: draws the adapters' initial values from `generators.cpu`, the UNet's first.
/// `prompts` are those known beforehand, which are checked against the text encoder.
TrainingModels load_training_models(const ModelSource& model, const TrainOptions& options,
                                    const TrainingPrecision& precision, TrainingGenerators& generators,
                                    const std::vector<std::string>& prompts);

/// The tokens a caption is padded or cut to.
int64_t caption_length(const TrainingModels& models, const TrainOptions& options);

/// Training or evaluation mode of what trains: the UNet, its adapters, and the text encoder with its own if it has any.
void set_training(TrainingModels& models, bool training);

}  // namespace lorikeet
