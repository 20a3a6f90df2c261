// The small layers: norms, embeddings, activations.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <string>

#include "models/adaptable.h"

namespace lorikeet {

/// torch.nn.GroupNorm. Keys: weight [channels], bias [channels]. x: [B, channels, ...], the same shape out
struct GroupNorm : AdaptableLayer {
  GroupNorm(int64_t groups, int64_t channels, double eps);
  torch::Tensor compute(const torch::Tensor& x, const torch::Tensor& with_weight,
                        const torch::Tensor& with_bias) const override;

  int64_t groups;
  double eps;
};

/// torch.nn.LayerNorm over the last dimension. Keys: weight [width], bias [width]. x: [..., width], the same shape out
struct LayerNorm : AdaptableLayer {
  LayerNorm(int64_t width, double eps);
  torch::Tensor compute(const torch::Tensor& x, const torch::Tensor& with_weight,
                        const torch::Tensor& with_bias) const override;

  double eps;
};

/// torch.nn.Embedding. Keys: weight [count, width].
struct Embedding : torch::nn::Module {
  Embedding(int64_t count, int64_t width);
  /// ids: int64 [...] -> [..., width]
  torch::Tensor forward(const torch::Tensor& ids);

  torch::Tensor weight;
};

enum class Activation { kSilu, kMish, kGelu, kRelu, kQuickGelu };

/// By the names that Diffusers and transformers use in config.json; throws FormatError for another.
Activation parse_activation(const std::string& name);
torch::Tensor activate(Activation activation, const torch::Tensor& x);

}  // namespace lorikeet
