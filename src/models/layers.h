// The small layers that no adapter can sit on: norms, embeddings, activations.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <string>

namespace lorikeet {

/// torch.nn.GroupNorm. Keys: weight [channels], bias [channels].
struct GroupNorm : torch::nn::Module {
  GroupNorm(int64_t groups, int64_t channels, double eps);
  /// x: [B, channels, ...], the same shape out
  torch::Tensor forward(const torch::Tensor& x);

  torch::Tensor weight, bias;
  int64_t groups;
  double eps;
};

/// torch.nn.LayerNorm over the last dimension. Keys: weight [width], bias [width].
struct LayerNorm : torch::nn::Module {
  LayerNorm(int64_t width, double eps);
  /// x: [..., width], the same shape out
  torch::Tensor forward(const torch::Tensor& x);

  torch::Tensor weight, bias;
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
