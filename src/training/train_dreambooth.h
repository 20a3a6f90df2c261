// The DreamBooth recipe: a LoRA that knows one subject. Source: Ruiz et al. 2022, https://arxiv.org/abs/2208.12242, and
// Diffusers' train_dreambooth_lora.py, whose losses and weights it reproduces number by number.
#pragma once

#include "training/train_dreambooth_options.h"
#include "training/trainer.h"

namespace lorikeet {

/// See plan_training.
TrainingPlan plan_dreambooth(const TrainDreamboothOptions& options);

/// See train in trainer.h.
TrainResult train_dreambooth(const TrainDreamboothOptions& options, TrainingObserver& observer);

}  // namespace lorikeet
