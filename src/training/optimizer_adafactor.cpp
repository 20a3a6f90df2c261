// Adafactor: second moments of matrices kept as one mean per row and per column, updates clipped to an RMS of 1.
// Source: Shazeer & Stern 2018, https://arxiv.org/abs/1804.04235; operation by operation transformers' Adafactor with
// scale_parameter=False, relative_step=False, warmup_init=False, beta1=None: the learning rate is the caller's.
// Rows and columns are the last two dimensions, of a 4-d kernel too. Steps are counted once for all parameters.
#include <cmath>

#include "training/optimizer_base.h"

namespace lorikeet {
namespace {

constexpr double kEpsilon = 1e-30;       // added to squared gradients
constexpr double kDecayExponent = -0.8;  // of the step, in 1 - beta2
constexpr double kLargestRms = 1;        // of an update, before the learning rate

torch::Tensor rms(const torch::Tensor& tensor) {
  return tensor.norm(2) / std::sqrt(static_cast<double>(tensor.numel()));
}

class AdafactorOptimizer final : public OptimizerBase {
 public:
  AdafactorOptimizer(const OptimizerOptions& options, Parameters parameters)
      : OptimizerBase(std::move(parameters)), weight_decay_(*options.weight_decay) {
    for (const auto& parameter : this->parameters()) {
      moments_.push_back(parameter.value.dim() >= 2 ? factored(parameter) : whole(parameter));
    }
  }

  void step(double learning_rate) override {
    torch::NoGradGuard no_grad;
    ++steps_;
    const double beta2 = 1 - std::pow(steps_, kDecayExponent);
    for (size_t i = 0; i < parameters().size(); ++i) {
      const auto& parameter = parameters()[i].value;
      const auto& gradient = parameter.grad();
      if (!gradient.defined()) continue;
      const double rate = checked(learning_rate * parameters()[i].rate_factor, learning_rate);
      const auto update = normalized(gradient, beta2, moments_[i]);
      update.div_((rms(update) / kLargestRms).clamp_min_(1)).mul_(rate);
      if (weight_decay_ != 0) parameter.add_(parameter, -weight_decay_ * rate);
      parameter.sub_(update);
    }
  }

 private:
  /// Means of squared gradients: over columns and over rows; or each of its own, and no column.
  struct Moments {
    torch::Tensor row, column;
  };

  Moments factored(const TrainedParameter& parameter) {
    const auto& value = parameter.value;
    return {remember("row", parameter, torch::zeros_like(value.select(-1, 0))),
            remember("column", parameter, torch::zeros_like(value.select(-2, 0)))};
  }

  Moments whole(const TrainedParameter& parameter) {
    return {remember("second", parameter, torch::zeros_like(parameter.value)), {}};
  }

  /// The gradient over the root of its second moment.
  static torch::Tensor normalized(const torch::Tensor& gradient, double beta2, Moments& moments) {
    const auto squares = gradient.pow(2) + kEpsilon;
    if (!moments.column.defined()) {
      moments.row.mul_(beta2).add_(squares, 1 - beta2);
      return moments.row.rsqrt().mul_(gradient);
    }
    moments.row.mul_(beta2).add_(squares.mean(-1), 1 - beta2);
    moments.column.mul_(beta2).add_(squares.mean(-2), 1 - beta2);
    const auto rows = (moments.row / moments.row.mean(-1, /*keepdim=*/true)).rsqrt_().unsqueeze(-1);
    return (rows * moments.column.unsqueeze(-2).rsqrt()).mul_(gradient);
  }

  double weight_decay_;
  double& steps_ = remember_number("steps", 0);
  std::vector<Moments> moments_;
};

}  // namespace

std::unique_ptr<Optimizer> make_adafactor(const OptimizerOptions& options, Parameters parameters) {
  return std::make_unique<AdafactorOptimizer>(options, std::move(parameters));
}

}  // namespace lorikeet
