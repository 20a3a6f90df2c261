// Prodigy: Adam that estimates the learning rate, as the distance from the start that the gradients speak of.
// Source: Mishchenko & Defazio 2023, https://arxiv.org/abs/2306.06101; operation by operation the package prodigyopt
// with decoupled weight decay, d0=1e-6, beta3=sqrt(beta2) and unbounded growth.
// The package has one rate for all; a rate factor f here is what training value / f would be there.
#include <algorithm>
#include <cmath>

#include "training/optimizer_base.h"

namespace lorikeet {
namespace {

constexpr double kFirstEstimate = 1e-6;

class ProdigyOptimizer final : public OptimizerBase {
 public:
  ProdigyOptimizer(const OptimizerOptions& options, Parameters parameters)
      : OptimizerBase(std::move(parameters)), options_(options) {}

  void step(double learning_rate) override {
    // Before a warm-up has begun there is nothing to learn.
    if (learning_rate == 0) return;
    torch::NoGradGuard no_grad;
    if (steps_ == 0) start();
    const double rate = checked(estimate_ * learning_rate * bias_correction(), learning_rate);
    const auto sums = accumulate(rate, learning_rate);
    // Zero gradients only, so far.
    if (sums.denominator == 0) return;
    numerator_ = numerator_ * beta3() + sums.numerator;
    estimate_ = std::max(estimate_, options_.d_coef * numerator_ / sums.denominator);
    move(rate);
    ++steps_;
  }

  double effective_rate(double learning_rate) const override { return estimate_ * learning_rate; }

 private:
  struct Sums {
    double numerator = 0, denominator = 0;
  };

  double beta3() const { return std::sqrt(*options_.beta2); }

  double bias_correction() const {
    if (!options_.use_bias_correction) return 1;
    return std::pow(1 - std::pow(*options_.beta2, steps_ + 1), 0.5) / (1 - std::pow(*options_.beta1, steps_ + 1));
  }

  /// The values may have been loaded after this was made.
  void start() {
    for (size_t i = 0; i < parameters().size(); ++i) start_[i].copy_(parameters()[i].value);
  }

  /// Takes the gradients into the moments and into both sides of the estimate.
  Sums accumulate(double rate, double learning_rate) {
    const double d = estimate_, beta1 = *options_.beta1, beta2 = *options_.beta2;
    std::vector<torch::Tensor> products, totals;
    for (size_t i = 0; i < parameters().size(); ++i) {
      const auto& value = parameters()[i].value;
      const auto& gradient = value.grad();
      if (!gradient.defined()) continue;
      products.push_back(torch::dot(gradient.flatten(), (start_[i] - value).flatten()));
      first_[i].mul_(beta1).add_(gradient, d * (1 - beta1));
      second_[i].mul_(beta2).addcmul_(gradient, gradient, checked(d * d * (1 - beta2), learning_rate));
      const double weight = d / kFirstEstimate * (options_.safeguard_warmup ? d : rate);
      direction_[i].mul_(beta3()).add_(gradient, checked(weight * parameters()[i].rate_factor, learning_rate));
      totals.push_back(direction_[i].abs().sum());
    }
    if (products.empty()) return {};
    // One copy from the device for all.
    const auto values = torch::stack({torch::stack(products), torch::stack(totals)}).cpu();
    const auto* each = values.const_data_ptr<float>();
    Sums sums;
    for (size_t i = 0; i < products.size(); ++i) {
      sums.numerator += d / kFirstEstimate * rate * static_cast<double>(each[i]);
      sums.denominator += static_cast<double>(each[products.size() + i]);
    }
    return sums;
  }

  /// Adam's step at the rate before this gradient; only the guard in the denominator has the new estimate.
  void move(double rate) {
    for (size_t i = 0; i < parameters().size(); ++i) {
      const auto& value = parameters()[i].value;
      if (!value.grad().defined()) continue;
      const double own_rate = rate * parameters()[i].rate_factor;
      const auto denominator = second_[i].sqrt().add_(estimate_ * *options_.epsilon);
      if (*options_.weight_decay != 0) value.add_(value, -*options_.weight_decay * own_rate);
      value.addcdiv_(first_[i], denominator, -own_rate);
    }
  }

  OptimizerOptions options_;
  double& steps_ = remember_number("steps", 0);
  double& estimate_ = remember_number("d", kFirstEstimate);
  double& numerator_ = remember_number("d_numerator", 0);
  std::vector<torch::Tensor> first_ = remember_zeros("first"), second_ = remember_zeros("second");
  std::vector<torch::Tensor> start_ = remember_zeros("start"), direction_ = remember_zeros("direction");
};

}  // namespace

std::unique_ptr<Optimizer> make_prodigy(const OptimizerOptions& options, Parameters parameters) {
  return std::make_unique<ProdigyOptimizer>(options, std::move(parameters));
}

}  // namespace lorikeet
