// The model as it would be used now, in the middle of training.
#pragma once

#include "training/lora_average.h"
#include "training/optimizer.h"
#include "training/training_models.h"

namespace lorikeet {

/// While it lives, the adapters hold the values to use and to save: the average when there is one, or schedule-free's
/// own; afterwards every bit is as before.
class UsableWeights {
 public:
  /// `average` may be null.
  UsableWeights(const std::vector<TrainedParameter>& parameters, Optimizer& optimizer, const LoraAverage* average);
  ~UsableWeights();
  UsableWeights(const UsableWeights&) = delete;
  UsableWeights& operator=(const UsableWeights&) = delete;

 private:
  const std::vector<TrainedParameter>& parameters_;
  Optimizer& optimizer_;
  std::vector<torch::Tensor> saved_;
};

/// While it lives: no gradients, no dropout.
class EvaluationMode {
 public:
  explicit EvaluationMode(TrainingModels& models) : models_(models) { set_training(models_, false); }
  ~EvaluationMode() { set_training(models_, true); }
  EvaluationMode(const EvaluationMode&) = delete;
  EvaluationMode& operator=(const EvaluationMode&) = delete;

 private:
  TrainingModels& models_;
  torch::NoGradGuard no_grad_;
};

}  // namespace lorikeet
