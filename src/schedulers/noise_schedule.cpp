#include "schedulers/noise_schedule.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

constexpr double kMaxBeta = 0.999;

double cosine_alpha_bar(double t) { return std::pow(std::cos((t + 0.008) / 1.008 * M_PI / 2), 2); }

double laplace_alpha_bar(double t) {
  const double lambda = -0.5 * std::copysign(1.0, 0.5 - t) * std::log(1 - 2 * std::fabs(0.5 - t) + 1e-6);
  const double snr = std::exp(lambda);
  return std::sqrt(snr / (1 + snr));
}

/// Betas whose running product of 1 - beta follows alpha_bar over [0, 1].
torch::Tensor betas_following(const std::function<double(double)>& alpha_bar, int64_t count) {
  std::vector<double> betas(count);
  for (int64_t i = 0; i < count; ++i) {
    const double from = static_cast<double>(i) / count, to = static_cast<double>(i + 1) / count;
    betas[i] = std::min(1 - alpha_bar(to) / alpha_bar(from), kMaxBeta);
  }
  return torch::tensor(betas, torch::kFloat64).to(torch::kFloat32);
}

torch::Tensor make_betas(const BetaOptions& options) {
  const auto count = options.num_train_timesteps;
  if (options.trained_betas) return torch::tensor(*options.trained_betas, torch::kFloat64).to(torch::kFloat32);
  if (options.beta_schedule == "linear")
    return torch::linspace(options.beta_start, options.beta_end, count, torch::kFloat32);
  if (options.beta_schedule == "scaled_linear")
    return torch::linspace(std::pow(options.beta_start, 0.5), std::pow(options.beta_end, 0.5), count, torch::kFloat32)
        .pow(2);
  if (options.beta_schedule == "squaredcos_cap_v2") return betas_following(cosine_alpha_bar, count);
  if (options.beta_schedule == "laplace") return betas_following(laplace_alpha_bar, count);
  if (options.beta_schedule == "sigmoid")
    return torch::sigmoid(torch::linspace(-6, 6, count, torch::kFloat32)) * (options.beta_end - options.beta_start) +
           options.beta_start;
  throw FormatError(str("beta_schedule is '", options.beta_schedule,
                        "', expected linear, scaled_linear, squaredcos_cap_v2, laplace or sigmoid"));
}

/// sqrt(a) and sqrt(1 - a) of each timestep, shaped to broadcast over `like`.
std::pair<torch::Tensor, torch::Tensor> signal_and_noise(const torch::Tensor& alphas_cumprod,
                                                         const torch::Tensor& timesteps, const torch::Tensor& like) {
  if (timesteps.numel() == 0 || at::isFloatingType(timesteps.scalar_type()))
    throw Error("timesteps must be integers, one for each sample of the batch");
  if (timesteps.numel() != 1 && timesteps.numel() != like.size(0))
    throw Error(str("got ", timesteps.numel(), " timesteps for a batch of ", like.size(0)));
  // Without this an index past the end ends a CUDA program with a device assertion. Only the CPU can be asked
  // for free, which is where timesteps are drawn.
  if (timesteps.is_cpu()) {
    const auto low = timesteps.min().item<int64_t>(), high = timesteps.max().item<int64_t>();
    if (low < 0 || high >= alphas_cumprod.size(0))
      throw Error(str("timestep ", low < 0 ? low : high, " is outside the schedule, expected 0 to ",
                      alphas_cumprod.size(0) - 1));
  }
  // Rounding alphas_cumprod to the samples' dtype before the root is part of the peer's numbers in bf16 and fp16.
  const auto alphas = alphas_cumprod.to(like.device(), like.scalar_type())
                          .index_select(0, timesteps.to(like.device(), torch::kInt64).flatten());
  std::vector<int64_t> shape(like.dim(), 1);
  shape[0] = alphas.numel();
  return {alphas.pow(0.5).view(shape), (1 - alphas).pow(0.5).view(shape)};
}

}  // namespace

torch::Tensor rescale_zero_terminal_snr(const torch::Tensor& betas) {
  auto roots = (1.0 - betas).cumprod(0).sqrt();
  const auto first = roots[0].clone(), last = roots[-1].clone();
  roots = (roots - last) * (first / (first - last));
  const auto alphas_bar = roots.pow(2);
  const auto alphas = torch::cat({alphas_bar.slice(0, 0, 1), alphas_bar.slice(0, 1) / alphas_bar.slice(0, 0, -1)});
  return 1 - alphas;
}

NoiseSchedule::NoiseSchedule(const BetaOptions& options) : betas(make_betas(options)) {
  if (options.rescale_betas_zero_snr) betas = rescale_zero_terminal_snr(betas);
  alphas_cumprod = (1.0 - betas).cumprod(0);
}

torch::Tensor NoiseSchedule::add_noise(const torch::Tensor& x0, const torch::Tensor& noise,
                                       const torch::Tensor& timesteps) const {
  const auto [signal, spread] = signal_and_noise(alphas_cumprod, timesteps, x0);
  return signal * x0 + spread * noise;
}

torch::Tensor NoiseSchedule::get_velocity(const torch::Tensor& x0, const torch::Tensor& noise,
                                          const torch::Tensor& timesteps) const {
  const auto [signal, spread] = signal_and_noise(alphas_cumprod, timesteps, x0);
  return signal * noise - spread * x0;
}

}  // namespace lorikeet
