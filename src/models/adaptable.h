// Layers with slots for adapters. Models know of LoRA only these slots.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <memory>
#include <vector>

namespace lorikeet {

struct AdaptableLayer;

/// What may sit in a layer's slots: it changes the layer's output. src/lora/ has the one real kind.
class LayerAdapter {
 public:
  virtual ~LayerAdapter() = default;
  /// What to add to the layer's output: of `output`'s shape, or undefined for nothing. `input` is what the layer
  /// received, `output` what its own weights made of it.
  virtual torch::Tensor change(const AdaptableLayer& layer, const torch::Tensor& input,
                               const torch::Tensor& output) = 0;
};

/// A layer whose output is linear in its weight and bias. Weights start out uninitialised: they are always loaded.
struct AdaptableLayer : torch::nn::Module {
  /// The layer's operation with another weight and bias, of its own or with fewer outputs; each may be undefined.
  virtual torch::Tensor compute(const torch::Tensor& x, const torch::Tensor& with_weight,
                                const torch::Tensor& with_bias) const = 0;
  /// The layer's own output and what every adapter adds to it, in their order.
  torch::Tensor forward(const torch::Tensor& x);

  torch::Tensor weight, bias;  // bias is undefined without one
  std::vector<std::shared_ptr<LayerAdapter>> adapters;
};

/// y = x W^T + b. Keys: weight [out, in], bias [out]. x: [..., in] -> [..., out]
struct AdaptableLinear : AdaptableLayer {
  AdaptableLinear(int64_t in_features, int64_t out_features, bool with_bias = true);
  torch::Tensor compute(const torch::Tensor& x, const torch::Tensor& with_weight,
                        const torch::Tensor& with_bias) const override;
};

/// A 2-d convolution. Keys: weight [out, in, k, k], bias [out]. x: [B, in, h, w] -> [B, out, h', w']
struct AdaptableConv2d : AdaptableLayer {
  AdaptableConv2d(int64_t in_channels, int64_t out_channels, int64_t kernel, int64_t stride = 1, int64_t padding = 0,
                  bool with_bias = true);
  torch::Tensor compute(const torch::Tensor& x, const torch::Tensor& with_weight,
                        const torch::Tensor& with_bias) const override;

  int64_t stride, padding;
};

}  // namespace lorikeet
