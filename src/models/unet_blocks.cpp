#include "models/unet_blocks.h"

namespace lorikeet {
namespace {

// Registered before the resnets: Diffusers' order, in which adapters draw their initial values.
template <class Block>
void register_layers(Block& block, const UNetBlockOptions& options) {
  if (options.attention) {
    block.attentions = block.register_module("attentions", std::make_shared<ModuleList<Transformer2DModel>>());
    for (int64_t i = 0; i < options.layers; ++i) block.attentions->add(*options.attention);
  }
  block.resnets = block.register_module("resnets", std::make_shared<ModuleList<ResnetBlock2D>>());
}

template <class Block>
torch::Tensor apply_layer(Block& block, size_t index, const torch::Tensor& x, const UNetConditions& conditions) {
  auto hidden = (*block.resnets)[index].forward(x, conditions.temb);
  if (!block.attentions) return hidden;
  return (*block.attentions)[index].forward(hidden, conditions.encoder_hidden_states, conditions.encoder_bias);
}

}  // namespace

UNetDownBlock::UNetDownBlock(const UNetBlockOptions& options) {
  register_layers(*this, options);
  for (int64_t i = 0; i < options.layers; ++i) {
    resnets->add(i == 0 ? options.in_channels : options.out_channels, options.out_channels, options.resnet);
  }
  if (options.resample) {
    downsamplers = register_module("downsamplers", std::make_shared<ModuleList<Downsample2D>>());
    downsamplers->add(options.out_channels, options.downsample_padding);
  }
}

torch::Tensor UNetDownBlock::forward(torch::Tensor x, const UNetConditions& conditions,
                                     std::vector<torch::Tensor>& skips) {
  for (size_t i = 0; i < resnets->size(); ++i) {
    x = apply_layer(*this, i, x, conditions);
    skips.push_back(x);
  }
  if (downsamplers) {
    x = (*downsamplers)[0].forward(x);
    skips.push_back(x);
  }
  return x;
}

UNetUpBlock::UNetUpBlock(const UNetBlockOptions& options) {
  register_layers(*this, options);
  for (int64_t i = 0; i < options.layers; ++i) {
    const auto from_below = i == 0 ? options.previous_channels : options.out_channels;
    const auto from_skip = i == options.layers - 1 ? options.in_channels : options.out_channels;
    resnets->add(from_below + from_skip, options.out_channels, options.resnet);
  }
  if (options.resample) {
    upsamplers = register_module("upsamplers", std::make_shared<ModuleList<Upsample2D>>());
    upsamplers->add(options.out_channels);
  }
}

torch::Tensor UNetUpBlock::forward(torch::Tensor x, const UNetConditions& conditions, std::vector<torch::Tensor>& skips,
                                   bool force_upsample_size) {
  for (size_t i = 0; i < resnets->size(); ++i) {
    x = torch::cat({x, skips.back()}, 1);
    skips.pop_back();
    x = apply_layer(*this, i, x, conditions);
  }
  if (!upsamplers) return x;
  auto& upsampler = (*upsamplers)[0];
  return force_upsample_size ? upsampler.forward(x, skips.back().sizes().slice(2)) : upsampler.forward(x);
}

UNetMidBlock2DCrossAttn::UNetMidBlock2DCrossAttn(int64_t channels, const ResnetOptions& resnet,
                                                 const TransformerOptions& attention) {
  attentions = register_module("attentions", std::make_shared<ModuleList<Transformer2DModel>>());
  attentions->add(attention);
  resnets = register_module("resnets", std::make_shared<ModuleList<ResnetBlock2D>>());
  resnets->add(channels, channels, resnet);
  resnets->add(channels, channels, resnet);
}

torch::Tensor UNetMidBlock2DCrossAttn::forward(const torch::Tensor& x, const UNetConditions& conditions) {
  auto hidden = (*resnets)[0].forward(x, conditions.temb);
  hidden = (*attentions)[0].forward(hidden, conditions.encoder_hidden_states, conditions.encoder_bias);
  return (*resnets)[1].forward(hidden, conditions.temb);
}

}  // namespace lorikeet
