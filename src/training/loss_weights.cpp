#include "training/loss_weights.h"

#include <cmath>

namespace lorikeet {
namespace {

/// kohya's bound, which keeps the least noisy timesteps from weighing nothing.
constexpr double kLargestSnr = 1000;

torch::Tensor over_rows(const torch::Tensor& values, const torch::Tensor& like) {
  std::vector<int64_t> shape(static_cast<size_t>(like.dim()), 1);
  shape[0] = values.size(0);
  return values.view(shape);
}

}  // namespace

torch::Tensor compute_snr(const torch::Tensor& alphas_cumprod, const torch::Tensor& timesteps) {
  const auto cumulative = alphas_cumprod.to(timesteps.device());
  const auto alpha = cumulative.sqrt().index({timesteps}).to(torch::kFloat);
  const auto sigma = (1.0 - cumulative).sqrt().index({timesteps}).to(torch::kFloat);
  return (alpha / sigma).pow(2);
}

torch::Tensor timestep_weights(const TrainOptions& options, const torch::Tensor& alphas_cumprod,
                               const torch::Tensor& timesteps, bool velocity) {
  if (!options.snr_gamma && !options.debiased_estimation_loss) return {};
  const auto snr = compute_snr(alphas_cumprod, timesteps);
  if (options.debiased_estimation_loss) {
    const auto bounded = snr.clamp_max(kLargestSnr);
    if (velocity) return 1 / (bounded + 1);
    return torch::where(snr > 0, bounded.rsqrt(), torch::zeros_like(snr));
  }
  const auto least = torch::minimum(snr, torch::full_like(snr, *options.snr_gamma));
  if (velocity) return least / (snr + 1);
  const auto weights = least / snr;
  return options.compat_bugs ? weights : torch::where(snr > 0, weights, torch::ones_like(weights));
}

torch::Tensor huber_thresholds(const TrainOptions& options, const torch::Tensor& alphas_cumprod,
                               const torch::Tensor& timesteps) {
  if (options.loss_type == "l2") return {};
  const auto c = options.huber_c;
  const auto steps = static_cast<double>(alphas_cumprod.size(0));
  if (options.huber_schedule == "constant") return torch::full_like(timesteps, c, torch::kFloat);
  if (options.huber_schedule == "exponential") {
    return torch::exp(timesteps.to(torch::kFloat) * (std::log(c) / steps));
  }
  const auto cumulative = alphas_cumprod.to(timesteps.device()).index({timesteps}).to(torch::kFloat);
  const auto sigma = ((1.0 - cumulative) / cumulative).sqrt();
  return (1 - c) / (1 + sigma).pow(2) + c;
}

torch::Tensor elementwise_loss(const TrainOptions& options, const torch::Tensor& prediction,
                               const torch::Tensor& target, const torch::Tensor& thresholds) {
  const auto error = prediction.to(torch::kFloat) - target.to(torch::kFloat);
  if (options.loss_type == "l2") return error.pow(2);
  const auto c = over_rows(thresholds, error);
  const auto root = (error.pow(2) + c.pow(2)).sqrt() - c;
  return options.loss_type == "huber" ? 2 * c * root : 2 * root;
}

}  // namespace lorikeet
