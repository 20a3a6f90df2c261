// An exponential moving average of the LoRA. Source: diffusers.training_utils.EMAModel, whose numbers it gives.
#pragma once

#include <torch/types.h>

#include <vector>

#include "training/optimizer.h"

namespace lorikeet {

class LoraAverage {
 public:
  /// Starts at the parameters as they are. `decay` in [0, 1).
  LoraAverage(const std::vector<TrainedParameter>& parameters, double decay);

  /// Moves towards the parameters: by 1 - min(decay, (1 + n) / (10 + n)) after the n-th step, all the way at the first.
  void update();
  const std::vector<torch::Tensor>& values() const { return values_; }

  int64_t steps() const { return steps_; }
  /// Copies values, in the order of the parameters; shapes must be theirs.
  void restore(int64_t steps, const std::vector<torch::Tensor>& values);

 private:
  std::vector<TrainedParameter> parameters_;
  std::vector<torch::Tensor> values_;
  double decay_;
  int64_t steps_ = 0;
};

}  // namespace lorikeet
