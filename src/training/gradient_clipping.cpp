#include "training/gradient_clipping.h"

namespace lorikeet {

torch::Tensor gradient_norm(const std::vector<torch::Tensor>& parameters) {
  torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> norms;
  for (const auto& parameter : parameters) {
    if (parameter.grad().defined()) norms.push_back(torch::linalg_vector_norm(parameter.grad(), 2.0));
  }
  return norms.empty() ? torch::zeros({}) : torch::linalg_vector_norm(torch::stack(norms), 2.0);
}

torch::Tensor clip_gradient_norm(const std::vector<torch::Tensor>& parameters, double max_norm) {
  torch::NoGradGuard no_grad;
  const auto norm = gradient_norm(parameters);
  const auto factor = (max_norm / (norm + 1e-6)).clamp_max(1.0);
  for (const auto& parameter : parameters) {
    if (parameter.grad().defined()) parameter.grad().mul_(factor);
  }
  return norm;
}

}  // namespace lorikeet
