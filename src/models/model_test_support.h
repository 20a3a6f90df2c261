// Small random models whose weights tools/reference/models.py draws alike.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <nlohmann/json.hpp>
#include <string>

#include "io/safetensors.h"

namespace lorikeet::testing {

/// The config of a case of tests/data/models.json.
nlohmann::json reference_config(const std::string& name);
/// The tensors of tests/data/models.safetensors.
const SafetensorsFile& reference_tensors();

/// Weights for every parameter of `model`, by name, from a seeded generator.
NamedTensors draw_weights(const torch::nn::Module& model, uint64_t seed = 0);

/// max|a-b| / max|b|
double relative_difference(const torch::Tensor& a, const torch::Tensor& b);

/// What an exception of type E said; fails the test when `action` does not throw one.
template <class E, class Action>
std::string message_of(const Action& action) {
  try {
    action();
  } catch (const E& error) {
    return error.what();
  }
  return "(nothing was thrown)";
}

}  // namespace lorikeet::testing
