// Schedule-free AdamW: gradients are taken between a running average x and the last iterate z, and x is what is used.
// Source: Defazio et al. 2024, https://arxiv.org/abs/2405.15682; operation by operation the package schedulefree's
// AdamWScheduleFree with r=0 and weight_lr_power=2. Its own warm-up is the caller's rate rising linearly, no more.
// The package moves parameters from y to x and back by rounding interpolations; here y is kept and put back.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "training/optimizer_base.h"

namespace lorikeet {
namespace {

class ScheduleFreeOptimizer final : public OptimizerBase {
 public:
  ScheduleFreeOptimizer(const OptimizerOptions& options, Parameters parameters)
      : OptimizerBase(std::move(parameters)),
        beta1_(*options.beta1),
        beta2_(*options.beta2),
        weight_decay_(*options.weight_decay),
        epsilon_(*options.epsilon) {}

  void step(double learning_rate) override {
    if (!at_training_point()) throw std::logic_error("an optimizer steps in training");
    torch::NoGradGuard no_grad;
    if (steps_ == 0) start();
    ++steps_;
    const double correction2 = 1 - std::pow(beta2_, steps_);
    largest_rate_ = std::max(learning_rate, largest_rate_);
    const double weight = std::pow(largest_rate_, 2.0);
    weight_sum_ += weight;
    // A rate of zero so far: nothing to average.
    const double share = weight_sum_ == 0 ? 0 : weight / weight_sum_;
    for (size_t i = 0; i < parameters().size(); ++i) {
      const auto& y = parameters()[i].value;
      const auto& gradient = y.grad();
      if (!gradient.defined()) continue;
      const double rate = checked(learning_rate * parameters()[i].rate_factor, learning_rate);
      second_[i].mul_(beta2_).addcmul_(gradient, gradient, 1 - beta2_);
      const auto denominator = second_[i].div(correction2).sqrt_().add_(epsilon_);
      const auto direction = gradient.div(denominator);
      if (weight_decay_ != 0) direction.add_(y, weight_decay_);
      y.lerp_(last_[i], share).add_(direction, rate * (beta1_ * (1 - share) - 1));
      last_[i].sub_(direction, rate);
    }
  }

  void set_training(bool training) override {
    if (training == at_training_point()) return;
    torch::NoGradGuard no_grad;
    for (size_t i = 0; i < parameters().size(); ++i) {
      const auto& value = parameters()[i].value;
      if (training) {
        value.copy_(training_point_[i]);
      } else {
        training_point_.push_back(value.detach().clone());
        if (steps_ > 0) value.lerp_(last_[i], 1 - 1 / beta1_);
      }
    }
    if (training) training_point_.clear();
    training_ = training;
  }

 protected:
  bool at_training_point() const override { return training_; }

 private:
  /// The values may have been loaded after this was made.
  void start() {
    for (size_t i = 0; i < parameters().size(); ++i) last_[i].copy_(parameters()[i].value);
  }

  double beta1_, beta2_, weight_decay_, epsilon_;
  bool training_ = true;
  double& steps_ = remember_number("steps", 0);
  double& weight_sum_ = remember_number("weight_sum", 0);
  double& largest_rate_ = remember_number("largest_rate", 0);
  std::vector<torch::Tensor> last_ = remember_zeros("last"), second_ = remember_zeros("second");
  std::vector<torch::Tensor> training_point_;  // y, while the values are x
};

}  // namespace

std::unique_ptr<Optimizer> make_schedule_free(const OptimizerOptions& options, Parameters parameters) {
  return std::make_unique<ScheduleFreeOptimizer>(options, std::move(parameters));
}

}  // namespace lorikeet
