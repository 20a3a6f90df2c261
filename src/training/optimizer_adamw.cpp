// AdamW with decoupled weight decay. Source: Loshchilov & Hutter 2017, https://arxiv.org/abs/1711.05101; operation by
// operation the single-tensor form of Python's torch.optim.AdamW (libtorch's own rounds differently in the last bit).
// Steps are counted once for all parameters; Python counts those in which a parameter had a gradient.
#include <cmath>

#include "training/optimizer_base.h"

namespace lorikeet {
namespace {

class AdamWOptimizer final : public OptimizerBase {
 public:
  AdamWOptimizer(const OptimizerOptions& options, Parameters parameters)
      : OptimizerBase(std::move(parameters)),
        beta1_(*options.beta1),
        beta2_(*options.beta2),
        weight_decay_(*options.weight_decay),
        epsilon_(*options.epsilon) {}

  void step(double learning_rate) override {
    torch::NoGradGuard no_grad;
    ++steps_;
    const double correction1 = 1 - std::pow(beta1_, steps_);
    const double correction2 = std::sqrt(1 - std::pow(beta2_, steps_));
    for (size_t i = 0; i < parameters().size(); ++i) {
      const auto& parameter = parameters()[i].value;
      const auto& gradient = parameter.grad();
      if (!gradient.defined()) continue;
      const double rate = learning_rate * parameters()[i].rate_factor;
      const double step_size = checked(rate / correction1, learning_rate);
      parameter.mul_(1 - rate * weight_decay_);
      first_[i].lerp_(gradient, 1 - beta1_);
      second_[i].mul_(beta2_).addcmul_(gradient, gradient, 1 - beta2_);
      const auto denominator = (second_[i].sqrt() / correction2).add_(epsilon_);
      parameter.addcdiv_(first_[i], denominator, -step_size);
    }
  }

 private:
  double beta1_, beta2_, weight_decay_, epsilon_;
  double& steps_ = remember_number("steps", 0);
  std::vector<torch::Tensor> first_ = remember_zeros("first"), second_ = remember_zeros("second");
};

}  // namespace

std::unique_ptr<Optimizer> make_adamw(const OptimizerOptions& options, Parameters parameters) {
  return std::make_unique<AdamWOptimizer>(options, std::move(parameters));
}

}  // namespace lorikeet
