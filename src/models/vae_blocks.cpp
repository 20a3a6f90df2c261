#include "models/vae_blocks.h"

namespace lorikeet {
namespace {

constexpr double kEps = 1e-6;

ResnetOptions resnet_options(const VaeOptions& options) {
  ResnetOptions resnet;
  resnet.groups = options.norm_num_groups;
  resnet.eps = kEps;
  return resnet;
}

}  // namespace

PixelAttention::PixelAttention(int64_t channels, int64_t groups) : Attention(channels, channels, 1, true, groups) {}

torch::Tensor PixelAttention::forward(const torch::Tensor& x) {
  const auto tokens = x.view({x.size(0), x.size(1), -1}).transpose(1, 2);
  return Attention::forward(tokens).transpose(-1, -2).reshape(x.sizes()) + x;
}

VaeMidBlock::VaeMidBlock(int64_t channels, const VaeOptions& options) {
  attentions = register_module("attentions", std::make_shared<ModuleList<PixelAttention>>());
  if (options.mid_block_add_attention) attentions->add(channels, options.norm_num_groups);
  resnets = register_module("resnets", std::make_shared<ModuleList<ResnetBlock2D>>());
  resnets->add(channels, channels, resnet_options(options));
  resnets->add(channels, channels, resnet_options(options));
}

torch::Tensor VaeMidBlock::forward(const torch::Tensor& x) {
  auto hidden = (*resnets)[0].forward(x, {});
  if (attentions->size() > 0) hidden = (*attentions)[0].forward(hidden);
  return (*resnets)[1].forward(hidden, {});
}

DownEncoderBlock2D::DownEncoderBlock2D(int64_t in_channels, int64_t out_channels, bool downsample,
                                       const VaeOptions& options) {
  resnets = register_module("resnets", std::make_shared<ModuleList<ResnetBlock2D>>());
  for (int64_t i = 0; i < options.layers_per_block; ++i) {
    resnets->add(i == 0 ? in_channels : out_channels, out_channels, resnet_options(options));
  }
  if (!downsample) return;
  downsamplers = register_module("downsamplers", std::make_shared<ModuleList<Downsample2D>>());
  downsamplers->add(out_channels, 0);
}

torch::Tensor DownEncoderBlock2D::forward(torch::Tensor x) {
  for (const auto& resnet : *resnets) x = resnet->forward(x, {});
  return downsamplers ? (*downsamplers)[0].forward(x) : x;
}

UpDecoderBlock2D::UpDecoderBlock2D(int64_t in_channels, int64_t out_channels, bool upsample,
                                   const VaeOptions& options) {
  resnets = register_module("resnets", std::make_shared<ModuleList<ResnetBlock2D>>());
  for (int64_t i = 0; i <= options.layers_per_block; ++i) {
    resnets->add(i == 0 ? in_channels : out_channels, out_channels, resnet_options(options));
  }
  if (!upsample) return;
  upsamplers = register_module("upsamplers", std::make_shared<ModuleList<Upsample2D>>());
  upsamplers->add(out_channels);
}

torch::Tensor UpDecoderBlock2D::forward(torch::Tensor x) {
  for (const auto& resnet : *resnets) x = resnet->forward(x, {});
  return upsamplers ? (*upsamplers)[0].forward(x) : x;
}

VaeEncoder::VaeEncoder(int64_t in_channels, int64_t latent_channels, const VaeOptions& options) {
  const auto& channels = options.block_out_channels;
  conv_in = register_module("conv_in", std::make_shared<AdaptableConv2d>(in_channels, channels.front(), 3, 1, 1));
  down_blocks = register_module("down_blocks", std::make_shared<ModuleList<DownEncoderBlock2D>>());
  for (size_t i = 0; i < channels.size(); ++i) {
    down_blocks->add(channels[i == 0 ? 0 : i - 1], channels[i], i + 1 < channels.size(), options);
  }
  mid_block = register_module("mid_block", std::make_shared<VaeMidBlock>(channels.back(), options));
  conv_norm_out =
      register_module("conv_norm_out", std::make_shared<GroupNorm>(options.norm_num_groups, channels.back(), kEps));
  conv_out =
      register_module("conv_out", std::make_shared<AdaptableConv2d>(channels.back(), 2 * latent_channels, 3, 1, 1));
}

torch::Tensor VaeEncoder::forward(torch::Tensor x) {
  x = conv_in->forward(x);
  for (const auto& block : *down_blocks) x = block->forward(x);
  x = mid_block->forward(x);
  return conv_out->forward(torch::silu(conv_norm_out->forward(x)));
}

VaeDecoder::VaeDecoder(int64_t latent_channels, int64_t out_channels, const VaeOptions& options) {
  const std::vector<int64_t> channels(options.block_out_channels.rbegin(), options.block_out_channels.rend());
  conv_in = register_module("conv_in", std::make_shared<AdaptableConv2d>(latent_channels, channels.front(), 3, 1, 1));
  // Registered before the middle, as Diffusers does it.
  up_blocks = register_module("up_blocks", std::make_shared<ModuleList<UpDecoderBlock2D>>());
  for (size_t i = 0; i < channels.size(); ++i) {
    up_blocks->add(channels[i == 0 ? 0 : i - 1], channels[i], i + 1 < channels.size(), options);
  }
  mid_block = register_module("mid_block", std::make_shared<VaeMidBlock>(channels.front(), options));
  conv_norm_out =
      register_module("conv_norm_out", std::make_shared<GroupNorm>(options.norm_num_groups, channels.back(), kEps));
  conv_out = register_module("conv_out", std::make_shared<AdaptableConv2d>(channels.back(), out_channels, 3, 1, 1));
}

torch::Tensor VaeDecoder::forward(torch::Tensor z) {
  z = conv_in->forward(z);
  z = mid_block->forward(z);
  for (const auto& block : *up_blocks) z = block->forward(z);
  return conv_out->forward(torch::silu(conv_norm_out->forward(z)));
}

}  // namespace lorikeet
