// AdamW with decoupled weight decay. Source: Loshchilov & Hutter 2017, https://arxiv.org/abs/1711.05101; operation by
// operation the single-tensor form of Python's torch.optim.AdamW (libtorch's own rounds differently in the last bit).
#pragma once

#include <torch/types.h>

#include <vector>

#include "training/gradient_clipping.h"

namespace lorikeet {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999;  // in [0, 1)
  double weight_decay = 1e-2;         // per unit of learning rate
  double epsilon = 1e-8;
};

class AdamW {
 public:
  /// Moments are kept in each parameter's own dtype, on its device.
  AdamW(std::vector<torch::Tensor> parameters, AdamWOptions options);

  /// One step with the parameters' .grad; parameters without one are left alone.
  void step(double learning_rate);
  /// Drops the gradients.
  void zero_grad();

  /// Steps taken and first and second moments in parameter order: what a checkpoint keeps.
  struct State {
    int64_t steps = 0;
    std::vector<torch::Tensor> first, second;
  };
  const State& state() const { return state_; }
  /// Copies values; shapes must be those of the parameters (FormatError otherwise).
  void restore(const State& state);

 private:
  std::vector<torch::Tensor> parameters_;
  AdamWOptions options_;
  State state_;
};

}  // namespace lorikeet
