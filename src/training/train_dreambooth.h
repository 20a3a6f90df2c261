// The DreamBooth recipe: a LoRA that knows one subject. Source: Ruiz et al. 2022, https://arxiv.org/abs/2208.12242, and
// Diffusers' train_dreambooth_lora.py, whose losses and weights it reproduces number by number.
#pragma once

#include <filesystem>

#include "training/observer.h"
#include "training/train_dreambooth_options.h"

namespace lorikeet {

struct TrainResult {
  int64_t steps = 0;                                     // optimizer steps, those before a resume included
  double last_loss = 0;                                  // of the last micro-step
  std::filesystem::path lora_file;                       // output_dir/pytorch_lora_weights.safetensors
  int64_t peak_memory = 0;                               // bytes, see engine/device.h
  std::vector<std::filesystem::path> validation_images;  // the last ones drawn
};

/// Looks at models, pictures and options without training; throws what train_dreambooth would throw before its first
/// step. Writes nothing.
TrainingPlan plan_dreambooth(const TrainDreamboothOptions& options);

/// Trains, and writes into output_dir: checkpoint-N/, logs, validation/, pytorch_lora_weights.safetensors.
/// Throws UsageError, FileError, FormatError, HubError as the inputs deserve; NumericError when the loss or a gradient
/// is not finite; Interrupted when the observer asks to stop. Checkpoints already written stay whole in every case.
TrainResult train_dreambooth(const TrainDreamboothOptions& options, TrainingObserver& observer);

}  // namespace lorikeet
