// The options of `lorikeet train dreambooth`: the 59 of Diffusers' train_dreambooth_lora.py under their own names
// and with their own defaults, and ours.
#pragma once

#include "training/train_options.h"

namespace lorikeet {

/// Each member is the flag of the same name; `fields` holds what it means and which values it may take.
struct TrainDreamboothOptions : TrainOptions {
  TrainDreamboothOptions() {
    learning_rate = 5e-4;
    validation_epochs = 50;
    output_dir = "lora-dreambooth-model";
  }

  std::string instance_data_dir;
  std::string instance_prompt;
  bool pre_compute_text_embeddings = false;

  // Prior preservation
  bool with_prior_preservation = false;
  std::optional<std::string> class_data_dir;
  std::optional<std::string> class_prompt;
  double prior_loss_weight = 1.0;
  int64_t num_class_images = 100;
  int64_t sample_batch_size = 4;
  std::optional<std::string> prior_generation_precision;

  // Other models than Stable Diffusion
  std::optional<std::vector<std::string>> validation_images;
  std::optional<std::string> class_labels_conditioning;
};

OptionList fields(TrainDreamboothOptions& options);

/// Checks every option by itself and with the others, without looking at files or devices. Throws UsageError.
void validate(const TrainDreamboothOptions& options);

/// See validate_for_device in train_options.h; also for the class pictures.
void validate_for_device(const TrainDreamboothOptions& options, bool device_is_cpu);

/// What is allowed, but has no effect or not the one it may seem to have; one sentence each.
std::vector<std::string> warnings(const TrainDreamboothOptions& options);

}  // namespace lorikeet
