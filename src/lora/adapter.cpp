#include "lora/adapter.h"

namespace lorikeet {
namespace {

/// torch.nn.functional.dropout with an explicit generator: the same draws and the same order of operations.
torch::Tensor drop(const torch::Tensor& x, double probability, torch::Generator& generator) {
  auto mask = torch::empty_like(x).bernoulli_(1 - probability, generator);
  mask.div_(1 - probability);
  return x * mask;
}

}  // namespace

torch::Tensor LoraAdapter::apply(const torch::Tensor& input, const torch::Tensor& output) {
  if (scale == 0) return output;
  auto x = input.scalar_type() == down.scalar_type() ? input : input.to(down.scalar_type());
  if (training && dropout > 0) x = drop(x, dropout, generator);
  auto change = is_convolution() ? torch::conv2d(torch::conv2d(x, down, {}, stride, padding), up)
                                 : torch::linear(torch::linear(x, down), up);
  const double factor = strength();
  if (factor != 1) change = change * factor;
  return (output + change).to(output.scalar_type());
}

torch::Tensor LoraAdapter::delta() const {
  torch::NoGradGuard no_grad;
  const auto a = down.to(torch::kFloat), b = up.to(torch::kFloat);
  auto product = torch::mm(b.flatten(1), a.flatten(1)) * strength();
  if (!is_convolution()) return product;
  return product.view({b.size(0), a.size(1), a.size(2), a.size(3)});
}

}  // namespace lorikeet
