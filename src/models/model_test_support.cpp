#include "models/model_test_support.h"

#include <cmath>
#include <map>

#include "core/atomic_file.h"

namespace lorikeet::testing {

nlohmann::json reference_config(const std::string& name) {
  static const auto configs = nlohmann::json::parse(read_file("tests/data/models.json"));
  return configs.at(name);
}

const SafetensorsFile& reference_tensors() {
  static const auto file = SafetensorsFile::open("tests/data/models.safetensors");
  return file;
}

NamedTensors draw_weights(const torch::nn::Module& model, uint64_t seed) {
  std::map<std::string, torch::Tensor> sorted;
  for (const auto& parameter : model.named_parameters()) sorted[parameter.key()] = parameter.value();
  auto generator = torch::make_generator<torch::CPUGeneratorImpl>(seed);
  NamedTensors weights;
  for (const auto& [name, parameter] : sorted) {
    auto value = torch::randn(parameter.sizes(), generator);
    if (parameter.dim() > 1) {
      const auto fan_in = static_cast<double>(parameter.numel()) / static_cast<double>(parameter.size(0));
      value = value / std::sqrt(fan_in);
    } else {
      value = name.ends_with("bias") ? 0.1 * value : 1 + 0.1 * value;
    }
    weights.emplace_back(name, value);
  }
  return weights;
}

double relative_difference(const torch::Tensor& a, const torch::Tensor& b) {
  if (a.sizes() != b.sizes()) return INFINITY;
  const auto difference = (a - b).abs().max().item<double>() / b.abs().max().item<double>();
  return std::isnan(difference) ? INFINITY : difference;
}

}  // namespace lorikeet::testing
