// The training loop that all recipes share, and what comes before and after it.
#pragma once

#include <filesystem>
#include <vector>

#include "training/observer.h"
#include "training/recipe.h"

namespace lorikeet {

struct TrainResult {
  int64_t steps = 0;                                     // optimizer steps, those before a resume included
  double last_loss = 0;                                  // of the last micro-step
  std::filesystem::path lora_file;                       // output_dir/pytorch_lora_weights.safetensors
  int64_t peak_memory = 0;                               // bytes, see engine/device.h
  std::vector<std::filesystem::path> validation_images;  // the last ones drawn
  int64_t skipped_steps = 0;                             // left out because a loss or a gradient was not finite
  bool stopped_early = false;                            // by --early_stopping_patience
};

/// Looks at models, pictures and options without training; throws what `train` would throw before its first step.
/// Writes nothing.
TrainingPlan plan_training(Recipe& recipe, TrainingObserver& observer);

/// Trains, and writes into output_dir: checkpoint-N/, logs, validation/, best/, pytorch_lora_weights.safetensors.
/// Throws UsageError, FileError, FormatError, HubError as the inputs deserve; NumericError when losses or gradients
/// stay not finite; Interrupted when the observer asks to stop. Checkpoints already written stay whole in every case.
TrainResult train(Recipe& recipe, TrainingObserver& observer);

}  // namespace lorikeet
