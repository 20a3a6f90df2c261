// The LoRA adapter: y + scale * alpha/rank * up(down(dropout(x))).
// Source: Hu et al. 2021, https://arxiv.org/abs/2106.09685; numbers as PEFT's Linear and Conv2d layers.
#pragma once

#include <memory>

#include "models/adaptable.h"

namespace lorikeet {

/// A pair of low-rank factors in one layer's slot.
struct LoraAdapter : LayerAdapter {
  /// For a linear layer down is [rank, in] and up [out, rank]; for a convolution down is [rank, in, k, k] and up
  /// [out, rank, 1, 1]. Trainable when they require grad.
  torch::Tensor down, up;
  double alpha = 0;    // the pair's strength is alpha / rank
  double scale = 1;    // the user's, on top; at 0 the layer's output is bit for bit its own
  double dropout = 0;  // probability; only with `training`
  bool training = false;
  torch::Generator generator;       // of the dropout masks
  int64_t stride = 1, padding = 0;  // the convolution's

  int64_t rank() const { return down.size(0); }
  double strength() const { return scale * alpha / static_cast<double>(rank()); }
  bool is_convolution() const { return down.dim() == 4; }

  torch::Tensor apply(const torch::Tensor& input, const torch::Tensor& output) override;
  /// What it adds to the layer's weight, in float32: [out, in] or [out, in, k, k].
  torch::Tensor delta() const;
};

}  // namespace lorikeet
