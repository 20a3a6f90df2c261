// Residual convolution blocks and the layers that halve and double a picture, shared by the UNet and the VAE.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <memory>
#include <optional>

#include "models/adaptable.h"
#include "models/layers.h"

namespace lorikeet {

/// What all resnets of one model have in common.
struct ResnetOptions {
  std::optional<int64_t> temb_channels;  // none in the VAE
  int64_t groups = 32;
  double eps = 1e-6;
  double output_scale_factor = 1.0;
  bool scale_shift = false;  // resnet_time_scale_shift "scale_shift", else "default"
};

/// Source: Diffusers' ResnetBlock2D.
struct ResnetBlock2D : torch::nn::Module {
  ResnetBlock2D(int64_t in_channels, int64_t out_channels, const ResnetOptions& options);
  /// x: [B, in, h, w], temb: [B, temb_channels] or undefined -> [B, out, h, w]
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& temb);

  bool gradient_checkpointing = false;

 private:
  torch::Tensor compute(torch::Tensor x, const torch::Tensor& temb);

  std::shared_ptr<GroupNorm> norm1;
  std::shared_ptr<AdaptableConv2d> conv1;
  std::shared_ptr<AdaptableLinear> time_emb_proj;
  std::shared_ptr<GroupNorm> norm2;
  std::shared_ptr<AdaptableConv2d> conv2, conv_shortcut;
  double output_scale_factor;
  bool scale_shift;
};

/// A 3x3 convolution of stride 2. Padding 0 means one row and column of zeros at the lower right (the VAE's way).
struct Downsample2D : torch::nn::Module {
  Downsample2D(int64_t channels, int64_t padding);
  /// x: [B, channels, h, w] -> [B, channels, ceil(h/2) or floor(h/2), ...]
  torch::Tensor forward(const torch::Tensor& x);

  std::shared_ptr<AdaptableConv2d> conv;
  int64_t padding;
};

/// Nearest neighbours, then a 3x3 convolution.
struct Upsample2D : torch::nn::Module {
  explicit Upsample2D(int64_t channels);
  /// x: [B, channels, h, w] -> [B, channels, 2h, 2w], or of `size` where given
  torch::Tensor forward(const torch::Tensor& x, at::OptionalIntArrayRef size = std::nullopt);

  std::shared_ptr<AdaptableConv2d> conv;
};

}  // namespace lorikeet
