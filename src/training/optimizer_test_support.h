// The small problem that the optimizer tests share with tools/reference/optimizers.py: four tensors, fixed gradients.
#pragma once

#include <torch/types.h>

#include <vector>

#include "training/optimizer.h"

namespace lorikeet {

/// "bias" [5], "up" [3,7] of zeros, "conv" [4,2,3,3], "down" [72,60], which is large enough for 8 bits.
inline std::vector<TrainedParameter> small_problem() {
  const std::vector<std::pair<std::string, std::vector<int64_t>>> shapes = {
      {"bias", {5}}, {"up", {3, 7}}, {"conv", {4, 2, 3, 3}}, {"down", {72, 60}}};
  std::vector<TrainedParameter> parameters;
  for (const auto& [name, shape] : shapes) {
    const auto index = static_cast<int64_t>(parameters.size());
    const auto i = torch::arange(c10::multiply_integers(shape), torch::kLong);
    const auto value = ((i * 37 + index * 11) % 101 - 50).to(torch::kFloat) / 500 * (index != 1 ? 1 : 0);
    parameters.push_back({name, value.reshape(shape).set_requires_grad(true)});
  }
  return parameters;
}

/// A direction and noise, over a range of magnitudes, with a block of zeros: exact arithmetic, the same everywhere.
inline torch::Tensor small_gradient(int64_t index, const torch::Tensor& parameter, int64_t step) {
  const auto i = torch::arange(parameter.numel(), torch::kLong);
  const auto noise = ((i * 7919 + step * 104729 + index * 1299709) % 2003 - 1001).to(torch::kFloat) / 1001;
  const auto direction = ((i * 31 + index * 17) % 7 - 3).to(torch::kFloat) / 3;
  const auto magnitude = torch::ldexp(torch::ones(i.sizes()), -((i * 5) % 13)) * ((i < 1024) | (i >= 1280));
  return ((noise * 0.5 + direction) * magnitude).reshape(parameter.sizes());
}

inline void set_small_gradients(const std::vector<TrainedParameter>& parameters, int64_t step) {
  for (size_t i = 0; i < parameters.size(); ++i) {
    const auto& value = parameters[i].value;
    value.mutable_grad() = small_gradient(static_cast<int64_t>(i), value, step);
  }
}

}  // namespace lorikeet
