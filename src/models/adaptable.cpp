#include "models/adaptable.h"

namespace lorikeet {

AdaptableLinear::AdaptableLinear(int64_t in_features, int64_t out_features, bool with_bias) {
  weight = register_parameter("weight", torch::empty({out_features, in_features}), false);
  if (with_bias) bias = register_parameter("bias", torch::empty({out_features}), false);
}

torch::Tensor AdaptableLinear::forward(const torch::Tensor& x) {
  auto y = torch::linear(x, weight, bias);
  return adapter ? adapter->apply(x, y) : y;
}

AdaptableConv2d::AdaptableConv2d(int64_t in_channels, int64_t out_channels, int64_t kernel, int64_t stride,
                                 int64_t padding, bool with_bias)
    : stride(stride), padding(padding) {
  weight = register_parameter("weight", torch::empty({out_channels, in_channels, kernel, kernel}), false);
  if (with_bias) bias = register_parameter("bias", torch::empty({out_channels}), false);
}

torch::Tensor AdaptableConv2d::forward(const torch::Tensor& x) {
  auto y = torch::conv2d(x, weight, bias, stride, padding);
  return adapter ? adapter->apply(x, y) : y;
}

}  // namespace lorikeet
