#include "schedulers/ddpm.h"

#include "core/errors.h"
#include "core/text.h"
#include "schedulers/config_reader.h"

namespace lorikeet {

DDPMScheduler::DDPMScheduler(const SchedulerConfigReader& config)
    : Scheduler(
          "DDPMScheduler",
          NoiseSchedule(config.betas({"linear", "scaled_linear", "squaredcos_cap_v2", "laplace", "sigmoid"}, true)),
          config.choice("prediction_type", "epsilon", {"epsilon", "sample", "v_prediction"})),
      clipping_(SampleClipping::read(config, true)),
      // A file of DPMSolverMultistepScheduler has null here, which works out as the default.
      variance_type_(config.choice("variance_type", "fixed_small",
                                   {"fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"})),
      spacing_(
          parse_timestep_spacing(config.choice("timestep_spacing", "leading", {"linspace", "leading", "trailing"}))),
      steps_offset_(config.integer("steps_offset", 0, 0)) {}

void DDPMScheduler::set_timesteps(int64_t n) {
  check_step_count(n);
  if (variance_type_ == "fixed_large_log")
    throw UsageError("variance_type 'fixed_large_log' of DDPMScheduler takes the root of a negative number",
                     "Sample with another scheduler, or set variance_type to fixed_large.");
  num_inference_steps_ = n;
  timesteps_ = torch::tensor(spaced_timesteps(spacing_, num_train_timesteps(), n, steps_offset_), torch::kInt64);
  check_timesteps_in_schedule();
}

int64_t DDPMScheduler::previous_timestep(int64_t t) const {
  const auto found = (timesteps_ == t).nonzero();
  if (found.size(0) == 0)
    throw UsageError(str("timestep ", t, " is not one of this run's ", num_inference_steps_, " timesteps"));
  const auto index = found[0][0].item<int64_t>();
  return index + 1 == timesteps_.size(0) ? -1 : timesteps_[index + 1].item<int64_t>();
}

torch::Tensor DDPMScheduler::noise_scale(const torch::Tensor& alpha, const torch::Tensor& alpha_before) const {
  const auto beta = 1 - alpha / alpha_before;
  if (variance_type_ == "fixed_large") return beta.pow(0.5);
  const auto variance = ((1 - alpha_before) / (1 - alpha) * beta).clamp_min(1e-20);
  return variance_type_ == "fixed_small_log" ? torch::exp(0.5 * torch::log(variance)) : variance.pow(0.5);
}

torch::Tensor DDPMScheduler::step(const torch::Tensor& model_output, double t, const torch::Tensor& sample,
                                  torch::Generator& generator, const StepOptions&) {
  check_ready();
  const auto timestep = static_cast<int64_t>(t);
  const auto before = previous_timestep(timestep);
  const auto& alphas = noise_schedule_.alphas_cumprod;
  const auto alpha = alphas[timestep];
  const auto alpha_before = before >= 0 ? alphas[before] : torch::tensor(1.0f);
  const auto beta = 1 - alpha, beta_before = 1 - alpha_before;
  const auto step_alpha = alpha / alpha_before, step_beta = 1 - step_alpha;

  torch::Tensor x0;
  if (prediction_type() == "epsilon")
    x0 = (sample - beta.pow(0.5) * model_output) / alpha.pow(0.5);
  else if (prediction_type() == "sample")
    x0 = model_output;
  else
    x0 = alpha.pow(0.5) * sample - beta.pow(0.5) * model_output;
  x0 = clipping_.apply(x0);

  // Formula (7) of the paper
  auto result = (alpha_before.pow(0.5) * step_beta / beta) * x0 + (step_alpha.pow(0.5) * beta_before / beta) * sample;
  if (timestep > 0) {
    const auto noise = randn_like(model_output, generator, model_output.scalar_type());
    result = result + noise_scale(alpha, alpha_before) * noise;
  }
  return result;
}

}  // namespace lorikeet
