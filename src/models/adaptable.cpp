#include "models/adaptable.h"

namespace lorikeet {

torch::Tensor AdaptableLayer::forward(const torch::Tensor& x) {
  const auto own = compute(x, weight, bias);
  auto sum = own;
  for (const auto& adapter : adapters) {
    const auto change = adapter->change(*this, x, own);
    if (change.defined()) sum = (sum + change).to(own.scalar_type());
  }
  return sum;
}

AdaptableLinear::AdaptableLinear(int64_t in_features, int64_t out_features, bool with_bias) {
  weight = register_parameter("weight", torch::empty({out_features, in_features}), false);
  if (with_bias) bias = register_parameter("bias", torch::empty({out_features}), false);
}

torch::Tensor AdaptableLinear::compute(const torch::Tensor& x, const torch::Tensor& with_weight,
                                       const torch::Tensor& with_bias) const {
  return torch::linear(x, with_weight, with_bias);
}

AdaptableConv2d::AdaptableConv2d(int64_t in_channels, int64_t out_channels, int64_t kernel, int64_t stride,
                                 int64_t padding, bool with_bias)
    : stride(stride), padding(padding) {
  weight = register_parameter("weight", torch::empty({out_channels, in_channels, kernel, kernel}), false);
  if (with_bias) bias = register_parameter("bias", torch::empty({out_channels}), false);
}

torch::Tensor AdaptableConv2d::compute(const torch::Tensor& x, const torch::Tensor& with_weight,
                                       const torch::Tensor& with_bias) const {
  return torch::conv2d(x, with_weight, with_bias, stride, padding);
}

}  // namespace lorikeet
