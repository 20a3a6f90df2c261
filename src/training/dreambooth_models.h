// The models of a DreamBooth run: loaded, frozen, cast, moved, and given their adapters.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <memory>
#include <optional>

#include "engine/autocast.h"
#include "lora/inject.h"
#include "pipelines/components.h"
#include "training/train_dreambooth_options.h"

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
TrainingPrecision choose_precision(const TrainDreamboothOptions& options);

/// The two generators that all draws of a run come from; on a CPU they are one and the same.
struct TrainingGenerators {
  torch::Generator cpu;     // data order, crops, initial values
  torch::Generator device;  // latents, noise, timesteps, dropout masks
};
TrainingGenerators make_training_generators(std::optional<uint64_t> seed, torch::Device device);

/// --seed as generators take it.
std::optional<uint64_t> run_seed(const TrainDreamboothOptions& options);

struct DreamboothModels {
  StableDiffusionComponents parts;
  std::unique_ptr<Scheduler> noise_scheduler;
  LoraLayers unet_lora, text_lora;  // text_lora is empty unless the text encoder trains

  std::vector<torch::Tensor> trained_parameters() const;
};

/// Loads from `folder` and injects: draws the adapters' initial values from `generators.cpu`, the UNet's first.
DreamboothModels load_dreambooth_models(const std::filesystem::path& folder, const TrainDreamboothOptions& options,
                                        const TrainingPrecision& precision, TrainingGenerators& generators);

/// Training or evaluation mode of what trains: the UNet, its adapters, and the text encoder with its own if it has any.
void set_training(DreamboothModels& models, bool training);

}  // namespace lorikeet
