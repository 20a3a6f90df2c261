// Encoder and decoder halves of the VAE.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <memory>
#include <vector>

#include "models/attention.h"
#include "models/module_list.h"
#include "models/resnet.h"

namespace lorikeet {

struct VaeOptions {
  std::vector<int64_t> block_out_channels;
  int64_t layers_per_block = 1;
  int64_t norm_num_groups = 32;
  bool mid_block_add_attention = true;
};

/// Self-attention over all pixels, with one head, around a residual. Source: Diffusers' Attention made from the old
/// AttentionBlock.
struct PixelAttention : Attention {
  PixelAttention(int64_t channels, int64_t groups);
  /// x: [B, channels, h, w], the same shape out
  torch::Tensor forward(const torch::Tensor& x);
};

/// Diffusers' UNetMidBlock2D: resnet, attention where wanted, resnet.
struct VaeMidBlock : torch::nn::Module {
  VaeMidBlock(int64_t channels, const VaeOptions& options);
  torch::Tensor forward(const torch::Tensor& x);

  std::shared_ptr<ModuleList<PixelAttention>> attentions;
  std::shared_ptr<ModuleList<ResnetBlock2D>> resnets;
};

/// Diffusers' DownEncoderBlock2D.
struct DownEncoderBlock2D : torch::nn::Module {
  DownEncoderBlock2D(int64_t in_channels, int64_t out_channels, bool downsample, const VaeOptions& options);
  torch::Tensor forward(torch::Tensor x);

  std::shared_ptr<ModuleList<ResnetBlock2D>> resnets;
  std::shared_ptr<ModuleList<Downsample2D>> downsamplers;
};

/// Diffusers' UpDecoderBlock2D.
struct UpDecoderBlock2D : torch::nn::Module {
  UpDecoderBlock2D(int64_t in_channels, int64_t out_channels, bool upsample, const VaeOptions& options);
  torch::Tensor forward(torch::Tensor x);

  std::shared_ptr<ModuleList<ResnetBlock2D>> resnets;
  std::shared_ptr<ModuleList<Upsample2D>> upsamplers;
};

struct VaeEncoder : torch::nn::Module {
  VaeEncoder(int64_t in_channels, int64_t latent_channels, const VaeOptions& options);
  /// x: [B, in_channels, H, W] -> moments before quant_conv [B, 2 latent_channels, H/f, W/f]
  torch::Tensor forward(torch::Tensor x);

 private:
  std::shared_ptr<AdaptableConv2d> conv_in;
  std::shared_ptr<ModuleList<DownEncoderBlock2D>> down_blocks;
  std::shared_ptr<VaeMidBlock> mid_block;
  std::shared_ptr<GroupNorm> conv_norm_out;
  std::shared_ptr<AdaptableConv2d> conv_out;
};

struct VaeDecoder : torch::nn::Module {
  VaeDecoder(int64_t latent_channels, int64_t out_channels, const VaeOptions& options);
  /// z: [B, latent_channels, h, w] -> [B, out_channels, h f, w f]
  torch::Tensor forward(torch::Tensor z);

 private:
  std::shared_ptr<AdaptableConv2d> conv_in;
  std::shared_ptr<ModuleList<UpDecoderBlock2D>> up_blocks;
  std::shared_ptr<VaeMidBlock> mid_block;
  std::shared_ptr<GroupNorm> conv_norm_out;
  std::shared_ptr<AdaptableConv2d> conv_out;
};

}  // namespace lorikeet
