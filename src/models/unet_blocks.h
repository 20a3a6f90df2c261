// The down, middle and up blocks of the UNet.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <memory>
#include <optional>
#include <vector>

#include "models/attention.h"
#include "models/module_list.h"
#include "models/resnet.h"

namespace lorikeet {

struct UNetBlockOptions {
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  int64_t previous_channels = 0;  // up blocks: channels that come from the block below
  int64_t layers = 1;
  bool resample = false;  // ends with a down- or upsampler
  int64_t downsample_padding = 1;
  ResnetOptions resnet;
  std::optional<TransformerOptions> attention;  // none: DownBlock2D, UpBlock2D
};

/// What every block receives besides the picture.
struct UNetConditions {
  torch::Tensor temb;                   // [B, time_embed_dim]
  torch::Tensor encoder_hidden_states;  // [B, T, cross_attention_dim]
  torch::Tensor encoder_bias;           // [B, 1, T] or undefined
};

/// Diffusers' CrossAttnDownBlock2D; DownBlock2D without attention.
struct UNetDownBlock : torch::nn::Module {
  explicit UNetDownBlock(const UNetBlockOptions& options);
  /// Appends to `skips` what the up blocks will want, its own result last.
  torch::Tensor forward(torch::Tensor x, const UNetConditions& conditions, std::vector<torch::Tensor>& skips);

  std::shared_ptr<ModuleList<Transformer2DModel>> attentions;
  std::shared_ptr<ModuleList<ResnetBlock2D>> resnets;
  std::shared_ptr<ModuleList<Downsample2D>> downsamplers;
};

/// Diffusers' CrossAttnUpBlock2D; UpBlock2D without attention.
struct UNetUpBlock : torch::nn::Module {
  explicit UNetUpBlock(const UNetBlockOptions& options);
  /// Takes one tensor per resnet from the end of `skips`. With `force_upsample_size` the result has the height and
  /// width of the skip that comes next, instead of twice x's (sizes that do not halve evenly).
  torch::Tensor forward(torch::Tensor x, const UNetConditions& conditions, std::vector<torch::Tensor>& skips,
                        bool force_upsample_size);

  std::shared_ptr<ModuleList<Transformer2DModel>> attentions;
  std::shared_ptr<ModuleList<ResnetBlock2D>> resnets;
  std::shared_ptr<ModuleList<Upsample2D>> upsamplers;
};

/// Resnet, transformer, resnet.
struct UNetMidBlock2DCrossAttn : torch::nn::Module {
  UNetMidBlock2DCrossAttn(int64_t channels, const ResnetOptions& resnet, const TransformerOptions& attention);
  torch::Tensor forward(const torch::Tensor& x, const UNetConditions& conditions);

  std::shared_ptr<ModuleList<Transformer2DModel>> attentions;
  std::shared_ptr<ModuleList<ResnetBlock2D>> resnets;
};

}  // namespace lorikeet
