// The text-to-image recipe: a LoRA of captioned pictures, a style. Source: Diffusers' train_text_to_image_lora.py,
// whose losses and weights it reproduces number by number.
#pragma once

#include "training/train_text_to_image_options.h"
#include "training/trainer.h"

namespace lorikeet {

/// See plan_training; the observer gets the report on the data set, and the progress of making it.
TrainingPlan plan_text_to_image(const TrainTextToImageOptions& options, TrainingObserver& observer);

/// See train in trainer.h.
TrainResult train_text_to_image(const TrainTextToImageOptions& options, TrainingObserver& observer);

}  // namespace lorikeet
