// Lion: the sign of an interpolated momentum. Source: Chen et al. 2023, https://arxiv.org/abs/2302.06675; operation by
// operation as the package lion-pytorch computes it.
#include "training/optimizer_base.h"

namespace lorikeet {
namespace {

class LionOptimizer final : public OptimizerBase {
 public:
  LionOptimizer(const OptimizerOptions& options, Parameters parameters)
      : OptimizerBase(std::move(parameters)),
        beta1_(*options.beta1),
        beta2_(*options.beta2),
        weight_decay_(*options.weight_decay) {}

  void step(double learning_rate) override {
    torch::NoGradGuard no_grad;
    for (size_t i = 0; i < parameters().size(); ++i) {
      const auto& parameter = parameters()[i].value;
      const auto& gradient = parameter.grad();
      if (!gradient.defined()) continue;
      const double rate = checked(learning_rate * parameters()[i].rate_factor, learning_rate);
      parameter.mul_(1 - rate * weight_decay_);
      parameter.add_(first_[i].mul(beta1_).add_(gradient, 1 - beta1_).sgn_(), -rate);
      first_[i].mul_(beta2_).add_(gradient, 1 - beta2_);
    }
  }

 private:
  double beta1_, beta2_, weight_decay_;
  std::vector<torch::Tensor> first_ = remember_zeros("first");
};

}  // namespace

std::unique_ptr<Optimizer> make_lion(const OptimizerOptions& options, Parameters parameters) {
  return std::make_unique<LionOptimizer>(options, std::move(parameters));
}

}  // namespace lorikeet
