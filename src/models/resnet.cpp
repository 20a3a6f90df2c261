#include "models/resnet.h"

#include "engine/activation_checkpoint.h"

namespace lorikeet {

ResnetBlock2D::ResnetBlock2D(int64_t in_channels, int64_t out_channels, const ResnetOptions& options)
    : output_scale_factor(options.output_scale_factor), scale_shift(options.scale_shift) {
  norm1 = register_module("norm1", std::make_shared<GroupNorm>(options.groups, in_channels, options.eps));
  conv1 = register_module("conv1", std::make_shared<AdaptableConv2d>(in_channels, out_channels, 3, 1, 1));
  if (options.temb_channels) {
    const auto width = options.scale_shift ? 2 * out_channels : out_channels;
    time_emb_proj = register_module("time_emb_proj", std::make_shared<AdaptableLinear>(*options.temb_channels, width));
  }
  norm2 = register_module("norm2", std::make_shared<GroupNorm>(options.groups, out_channels, options.eps));
  conv2 = register_module("conv2", std::make_shared<AdaptableConv2d>(out_channels, out_channels, 3, 1, 1));
  if (in_channels != out_channels) {
    conv_shortcut = register_module("conv_shortcut", std::make_shared<AdaptableConv2d>(in_channels, out_channels, 1));
  }
}

torch::Tensor ResnetBlock2D::forward(const torch::Tensor& x, const torch::Tensor& temb) {
  if (!gradient_checkpointing || !is_training() || !torch::GradMode::is_enabled()) return compute(x, temb);
  const auto function = [this](const std::vector<torch::Tensor>& inputs) {
    return std::vector<torch::Tensor>{compute(inputs[0], inputs[1])};
  };
  return activation_checkpoint(function, {x, temb})[0];
}

torch::Tensor ResnetBlock2D::compute(torch::Tensor x, const torch::Tensor& temb) {
  auto hidden = conv1->forward(torch::silu(norm1->forward(x)));
  torch::Tensor time;
  if (time_emb_proj) time = time_emb_proj->forward(torch::silu(temb)).unsqueeze(2).unsqueeze(3);
  if (scale_shift) {
    const auto parts = time.chunk(2, 1);
    hidden = norm2->forward(hidden) * (1 + parts[0]) + parts[1];
  } else {
    if (time.defined()) hidden = hidden + time;
    hidden = norm2->forward(hidden);
  }
  hidden = conv2->forward(torch::silu(hidden));
  if (conv_shortcut) x = conv_shortcut->forward(x);
  auto output = x + hidden;
  // Dividing by 1 changes no bit.
  return output_scale_factor == 1.0 ? output : output / output_scale_factor;
}

Downsample2D::Downsample2D(int64_t channels, int64_t padding) : padding(padding) {
  conv = register_module("conv", std::make_shared<AdaptableConv2d>(channels, channels, 3, 2, padding));
}

torch::Tensor Downsample2D::forward(const torch::Tensor& x) {
  return conv->forward(padding == 0 ? torch::constant_pad_nd(x, {0, 1, 0, 1}) : x);
}

Upsample2D::Upsample2D(int64_t channels) {
  conv = register_module("conv", std::make_shared<AdaptableConv2d>(channels, channels, 3, 1, 1));
}

torch::Tensor Upsample2D::forward(const torch::Tensor& x, at::OptionalIntArrayRef size) {
  constexpr double kDouble[] = {2.0, 2.0};
  return conv->forward(size ? torch::upsample_nearest2d(x, size, std::nullopt)
                            : torch::upsample_nearest2d(x, std::nullopt, kDouble));
}

}  // namespace lorikeet
