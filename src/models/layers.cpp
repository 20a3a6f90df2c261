#include "models/layers.h"

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {

GroupNorm::GroupNorm(int64_t groups, int64_t channels, double eps) : groups(groups), eps(eps) {
  weight = register_parameter("weight", torch::empty({channels}), false);
  bias = register_parameter("bias", torch::empty({channels}), false);
}

torch::Tensor GroupNorm::compute(const torch::Tensor& x, const torch::Tensor& with_weight,
                                 const torch::Tensor& with_bias) const {
  return torch::group_norm(x, groups, with_weight, with_bias, eps);
}

LayerNorm::LayerNorm(int64_t width, double eps) : eps(eps) {
  weight = register_parameter("weight", torch::empty({width}), false);
  bias = register_parameter("bias", torch::empty({width}), false);
}

torch::Tensor LayerNorm::compute(const torch::Tensor& x, const torch::Tensor& with_weight,
                                 const torch::Tensor& with_bias) const {
  return torch::layer_norm(x, {weight.size(0)}, with_weight, with_bias, eps);
}

Embedding::Embedding(int64_t count, int64_t width) {
  weight = register_parameter("weight", torch::empty({count, width}), false);
}

torch::Tensor Embedding::forward(const torch::Tensor& ids) { return torch::embedding(weight, ids); }

Activation parse_activation(const std::string& name) {
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "mish") return Activation::kMish;
  if (name == "gelu") return Activation::kGelu;
  if (name == "relu") return Activation::kRelu;
  if (name == "quick_gelu") return Activation::kQuickGelu;
  throw FormatError(str("activation \"", name, "\" is not one of silu, swish, mish, gelu, relu, quick_gelu"));
}

torch::Tensor activate(Activation activation, const torch::Tensor& x) {
  switch (activation) {
    case Activation::kMish:
      return torch::mish(x);
    case Activation::kGelu:
      return torch::gelu(x);
    case Activation::kRelu:
      return torch::relu(x);
    case Activation::kQuickGelu:
      return x * torch::sigmoid(1.702 * x);
    case Activation::kSilu:
      break;
  }
  return torch::silu(x);
}

}  // namespace lorikeet
