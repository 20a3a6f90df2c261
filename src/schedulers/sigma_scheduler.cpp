#include "schedulers/sigma_scheduler.h"

#include "core/errors.h"
#include "core/text.h"
#include "schedulers/config_reader.h"

namespace lorikeet {
namespace {

/// A last alpha of 0 would give an infinite sigma; this is the peer's stand-in for it.
constexpr double kTinyAlpha = 1.0 / (1 << 24);

NoiseSchedule with_finite_sigmas(const BetaOptions& options) {
  NoiseSchedule schedule(options);
  if (options.rescale_betas_zero_snr) schedule.alphas_cumprod[-1] = kTinyAlpha;
  return schedule;
}

}  // namespace

SigmaScheduler::SigmaScheduler(std::string class_name, const BetaOptions& betas, std::string prediction_type)
    : Scheduler(std::move(class_name), with_finite_sigmas(betas), std::move(prediction_type)),
      training_(noise_schedule_) {}

double SigmaScheduler::last_sigma(const SchedulerConfigReader& config) const {
  return config.choice("final_sigmas_type", "zero", {"zero", "sigma_min"}) == "zero" ? 0 : training_.sigmas.front();
}

void SigmaScheduler::begin(int64_t n, torch::Tensor timesteps, std::vector<double> sigmas, double last_sigma) {
  num_inference_steps_ = n;
  timesteps_ = std::move(timesteps);
  sigmas.push_back(last_sigma);
  sigmas_ = torch::tensor(sigmas, torch::kFloat64).to(torch::kFloat32);
  step_index_.reset();
}

int64_t SigmaScheduler::index_of(double t) const {
  const auto found = (timesteps_ == t).nonzero();
  if (found.size(0) == 0)
    throw UsageError(str("timestep ", t, " is not one of this run's ", timesteps_.size(0), " timesteps"));
  return found[found.size(0) > 1 ? 1 : 0][0].item<int64_t>();
}

void SigmaScheduler::find_step(double t) {
  check_ready();
  if (!step_index_) step_index_ = index_of(t);
  if (*step_index_ + 1 >= sigmas_.size(0))
    throw UsageError(str(class_name(), " was asked for more than its ", timesteps_.size(0), " steps"));
}

torch::Tensor SigmaScheduler::sigmas_like(const torch::Tensor& x0, const torch::Tensor& timesteps) const {
  check_ready();
  const auto wanted = timesteps.to(torch::kCPU, torch::kFloat64).flatten();
  if (wanted.numel() != 1 && wanted.numel() != x0.size(0))
    throw Error(str("got ", wanted.numel(), " timesteps for a batch of ", x0.size(0)));
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < wanted.numel(); ++i) indices.push_back(index_of(wanted[i].item<double>()));
  std::vector<int64_t> shape(x0.dim(), 1);
  shape[0] = wanted.numel();
  return sigmas_.to(x0.scalar_type())
      .index_select(0, torch::tensor(indices, torch::kInt64))
      .view(shape)
      .to(x0.device());
}

torch::Tensor SigmaScheduler::add_noise(const torch::Tensor& x0, const torch::Tensor& noise,
                                        const torch::Tensor& timesteps) {
  return x0 + noise * sigmas_like(x0, timesteps);
}

}  // namespace lorikeet
