// Linear and convolution layers with one empty slot for an adapter. Models know of LoRA only this slot.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <array>
#include <memory>

namespace lorikeet {

/// What may sit in a layer's slot: it changes the layer's output. src/lora/ has the one real kind.
class LayerAdapter {
 public:
  virtual ~LayerAdapter() = default;
  /// `input` is what the layer received, `output` what its own weights made of it; returns the layer's new output,
  /// of `output`'s shape and dtype.
  virtual torch::Tensor apply(const torch::Tensor& input, const torch::Tensor& output) = 0;
};

/// y = x W^T + b, then the adapter, if any. Weights start out uninitialised: they are always loaded.
/// Keys: weight [out, in], bias [out].
struct AdaptableLinear : torch::nn::Module {
  AdaptableLinear(int64_t in_features, int64_t out_features, bool with_bias = true);
  /// x: [..., in] -> [..., out]
  torch::Tensor forward(const torch::Tensor& x);

  torch::Tensor weight, bias;  // bias is undefined without one
  std::shared_ptr<LayerAdapter> adapter;
};

/// A 2-d convolution, then the adapter, if any. Keys: weight [out, in, k, k], bias [out].
struct AdaptableConv2d : torch::nn::Module {
  AdaptableConv2d(int64_t in_channels, int64_t out_channels, int64_t kernel, int64_t stride = 1, int64_t padding = 0,
                  bool with_bias = true);
  /// x: [B, in, h, w] -> [B, out, h', w']
  torch::Tensor forward(const torch::Tensor& x);

  torch::Tensor weight, bias;
  int64_t stride, padding;
  std::shared_ptr<LayerAdapter> adapter;
};

}  // namespace lorikeet
