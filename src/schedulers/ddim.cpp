#include "schedulers/ddim.h"

#include "schedulers/config_reader.h"

namespace lorikeet {

DDIMScheduler::DDIMScheduler(const SchedulerConfigReader& config)
    : Scheduler("DDIMScheduler", NoiseSchedule(config.betas({"linear", "scaled_linear", "squaredcos_cap_v2"}, true)),
                config.choice("prediction_type", "epsilon", {"epsilon", "sample", "v_prediction"})),
      clipping_(SampleClipping::read(config, true)),
      final_alpha_(config.flag("set_alpha_to_one", true) ? torch::tensor(1.0f) : noise_schedule_.alphas_cumprod[0]),
      spacing_(
          parse_timestep_spacing(config.choice("timestep_spacing", "leading", {"linspace", "leading", "trailing"}))),
      steps_offset_(config.integer("steps_offset", 0, 0)) {}

void DDIMScheduler::set_timesteps(int64_t n) {
  check_step_count(n);
  num_inference_steps_ = n;
  timesteps_ = torch::tensor(spaced_timesteps(spacing_, num_train_timesteps(), n, steps_offset_), torch::kInt64);
  check_timesteps_in_schedule();
}

torch::Tensor DDIMScheduler::step(const torch::Tensor& model_output, double t, const torch::Tensor& sample,
                                  torch::Generator& generator, const StepOptions& options) {
  check_ready();
  const auto timestep = static_cast<int64_t>(t);
  const auto before = timestep - num_train_timesteps() / num_inference_steps_;
  const auto alpha = alpha_at(timestep);
  const auto alpha_before = before >= 0 ? noise_schedule_.alphas_cumprod[before] : final_alpha_;
  const auto beta = 1 - alpha;

  // Formula (12) of the paper, from its predicted x0 to its direction towards x_t
  torch::Tensor x0, epsilon;
  if (prediction_type() == "epsilon") {
    x0 = (sample - beta.pow(0.5) * model_output) / alpha.pow(0.5);
    epsilon = model_output;
  } else if (prediction_type() == "sample") {
    x0 = model_output;
    epsilon = (sample - alpha.pow(0.5) * x0) / beta.pow(0.5);
  } else {
    x0 = alpha.pow(0.5) * sample - beta.pow(0.5) * model_output;
    epsilon = alpha.pow(0.5) * model_output + beta.pow(0.5) * sample;
  }
  x0 = clipping_.apply(x0);

  // Formula (16)
  const auto variance = ((1 - alpha_before) / beta) * (1 - alpha / alpha_before);
  const auto sigma = options.eta * variance.pow(0.5);
  if (options.use_clipped_model_output) epsilon = (sample - alpha.pow(0.5) * x0) / beta.pow(0.5);

  const auto direction = (1 - alpha_before - sigma.pow(2)).pow(0.5) * epsilon;
  const auto result = alpha_before.pow(0.5) * x0 + direction;
  if (options.eta <= 0) return result;
  return result + sigma * randn_like(model_output, generator, model_output.scalar_type());
}

}  // namespace lorikeet
