// AdamW whose moments take one byte each. Source: Dettmers et al. 2022, https://arxiv.org/abs/2110.02861; operation by
// operation bitsandbytes' AdamW8bit on a CPU, with the nearest code as its CUDA kernel and its portable quantizer take
// it. On CUDA bitsandbytes further decays weights after the step instead of before, and never rounds a negative first
// moment to zero. Steps are counted once for all parameters.
#include <cmath>

#include "training/blockwise_8bit.h"
#include "training/optimizer_base.h"

namespace lorikeet {
namespace {

constexpr int64_t kSmallest = 4096;  // values; smaller tensors keep float32 moments

class AdamW8bitOptimizer final : public OptimizerBase {
 public:
  AdamW8bitOptimizer(const OptimizerOptions& options, Parameters parameters)
      : OptimizerBase(std::move(parameters)),
        beta1_(*options.beta1),
        beta2_(*options.beta2),
        weight_decay_(*options.weight_decay),
        epsilon_(*options.epsilon) {
    for (const auto& parameter : this->parameters()) {
      first_.push_back(moment("first", parameter));
      second_.push_back(moment("second", parameter));
    }
    if (this->parameters().empty()) return;
    const auto device = this->parameters().front().value.device();
    signed_map_ = dynamic_map(/*is_signed=*/true).to(device);
    unsigned_map_ = dynamic_map(/*is_signed=*/false).to(device);
  }

  void step(double learning_rate) override {
    torch::NoGradGuard no_grad;
    ++steps_;
    const double correction1 = 1 - std::pow(beta1_, steps_);
    const double correction2 = std::sqrt(1 - std::pow(beta2_, steps_));
    for (size_t i = 0; i < parameters().size(); ++i) {
      const auto& parameter = parameters()[i];
      if (!parameter.value.grad().defined()) continue;
      const double rate = learning_rate * parameter.rate_factor;
      const double step_size = checked(rate / correction1, learning_rate);
      if (weight_decay_ > 0) parameter.value.mul_(1 - rate * weight_decay_);
      if (first_[i].scales.defined()) {
        step_coded(i, step_size, correction2);
      } else {
        step_plain(i, step_size, correction2);
      }
    }
  }

 private:
  /// Codes and scales, or plain values and no scales.
  Quantized moment(const std::string& kind, const TrainedParameter& parameter) {
    const auto& value = parameter.value;
    if (value.numel() < kSmallest) return {remember(kind, parameter, torch::zeros_like(value)), {}};
    const auto scales = torch::zeros({quantization_blocks(value.numel())}, value.options().requires_grad(false));
    return {remember(kind, parameter, torch::zeros_like(value, torch::kByte)),
            remember(kind + "_scales", parameter, scales)};
  }

  void accumulate(const torch::Tensor& first, const torch::Tensor& second, const torch::Tensor& gradient) const {
    first.mul_(beta1_).add_(gradient, 1 - beta1_);
    second.mul_(beta2_).addcmul_(gradient, gradient, 1 - beta2_);
  }

  void step_coded(size_t i, double step_size, double correction2) const {
    const auto& value = parameters()[i].value;
    const auto first = dequantize(first_[i], signed_map_), second = dequantize(second_[i], unsigned_map_);
    accumulate(first, second, value.grad());
    value.addcdiv_(first, (second.sqrt() / correction2).add_(epsilon_), -step_size);
    quantize(first, signed_map_, first_[i]);
    quantize(second, unsigned_map_, second_[i]);
  }

  /// The same with the correction on the other side of the fraction, as bitsandbytes rounds it.
  void step_plain(size_t i, double step_size, double correction2) const {
    const auto& value = parameters()[i].value;
    const auto &first = first_[i].codes, &second = second_[i].codes;
    accumulate(first, second, value.grad());
    value.add_(first / (second.sqrt() + epsilon_ * correction2), -step_size * correction2);
  }

  double beta1_, beta2_, weight_decay_, epsilon_;
  double& steps_ = remember_number("steps", 0);
  torch::Tensor signed_map_, unsigned_map_;
  std::vector<Quantized> first_, second_;
};

}  // namespace

std::unique_ptr<Optimizer> make_adamw8bit(const OptimizerOptions& options, Parameters parameters) {
  return std::make_unique<AdamW8bitOptimizer>(options, std::move(parameters));
}

}  // namespace lorikeet
