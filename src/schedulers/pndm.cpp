#include "schedulers/pndm.h"

#include <algorithm>

#include "core/errors.h"
#include "core/text.h"
#include "schedulers/config_reader.h"

namespace lorikeet {
namespace {

constexpr int64_t kRungeKuttaSteps = 4;

/// Each of the noisiest timesteps as four parts, halfway points included; the very first and last part have no use.
std::vector<int64_t> runge_kutta_timesteps(const std::vector<int64_t>& falling, int64_t half_stride) {
  std::vector<int64_t> rising;
  for (int64_t i = kRungeKuttaSteps; i-- > 0;) {
    rising.push_back(falling[i]);
    rising.push_back(falling[i] + half_stride);
  }
  rising.pop_back();
  std::vector<int64_t> twice;
  for (const auto t : rising) twice.insert(twice.end(), 2, t);
  return {twice.rbegin() + 1, twice.rend() - 1};
}

}  // namespace

PNDMScheduler::PNDMScheduler(const SchedulerConfigReader& config)
    : Scheduler("PNDMScheduler", NoiseSchedule(config.betas({"linear", "scaled_linear", "squaredcos_cap_v2"}, false)),
                config.choice("prediction_type", "epsilon", {"epsilon", "v_prediction"})),
      skip_prk_steps_(config.flag("skip_prk_steps", false)),
      final_alpha_(config.flag("set_alpha_to_one", false) ? torch::tensor(1.0f) : noise_schedule_.alphas_cumprod[0]),
      spacing_(
          parse_timestep_spacing(config.choice("timestep_spacing", "leading", {"linspace", "leading", "trailing"}))),
      steps_offset_(config.integer("steps_offset", 0, 0)) {}

void PNDMScheduler::set_timesteps(int64_t n) {
  check_step_count(n);
  if (!skip_prk_steps_ && n < kRungeKuttaSteps)
    throw UsageError(str("num_inference_steps is ", n, ", but PNDMScheduler without skip_prk_steps takes at least ",
                         kRungeKuttaSteps));
  num_inference_steps_ = n;
  auto steps = spaced_timesteps(spacing_, num_train_timesteps(), n, steps_offset_);
  prk_timesteps_.clear();
  if (skip_prk_steps_) {
    // The second timestep comes twice: its first visit improves on the lone Euler step.
    if (steps.size() > 1) steps.insert(steps.begin() + 1, steps[1]);
  } else {
    prk_timesteps_ = runge_kutta_timesteps(steps, num_train_timesteps() / n / 2);
    steps.erase(steps.begin(), steps.begin() + kRungeKuttaSteps - 1);
    steps.insert(steps.begin(), prk_timesteps_.begin(), prk_timesteps_.end());
  }
  timesteps_ = torch::tensor(steps, torch::kInt64);
  check_timesteps_in_schedule();
  counter_ = 0;
  outputs_.clear();
  output_sum_ = first_sample_ = torch::Tensor();
}

torch::Tensor PNDMScheduler::step(const torch::Tensor& model_output, double t, const torch::Tensor& sample,
                                  torch::Generator&, const StepOptions&) {
  check_ready();
  const auto timestep = static_cast<int64_t>(t);
  auto result = counter_ < static_cast<int64_t>(prk_timesteps_.size())
                    ? runge_kutta_step(model_output, timestep, sample)
                    : multistep_step(model_output, timestep, sample);
  ++counter_;
  return result;
}

torch::Tensor PNDMScheduler::runge_kutta_step(const torch::Tensor& model_output, int64_t t,
                                              const torch::Tensor& sample) {
  const int64_t part = counter_ % 4;
  const int64_t before = part % 2 ? t : t - num_train_timesteps() / num_inference_steps_ / 2;
  auto output = model_output;
  if (part == 0) {
    output_sum_ = (1.0 / 6) * model_output;
    outputs_.push_back(model_output);
    first_sample_ = sample;
  } else if (part < 3) {
    output_sum_ = output_sum_ + (1.0 / 3) * model_output;
  } else {
    output = output_sum_ + (1.0 / 6) * model_output;
  }
  return transfer(first_sample_, prk_timesteps_[counter_ - part], before, output);
}

torch::Tensor PNDMScheduler::multistep_step(const torch::Tensor& model_output, int64_t t, const torch::Tensor& sample) {
  const int64_t stride = num_train_timesteps() / num_inference_steps_;
  if (counter_ == 1) {
    // Second visit of the first step: again from where it began, with the mean of both outputs.
    return transfer(first_sample_, t + stride, t, (model_output + outputs_.back()) / 2);
  }
  if (outputs_.size() == 4) outputs_.erase(outputs_.begin());
  outputs_.push_back(model_output);
  if (counter_ == 0) first_sample_ = sample;
  return transfer(sample, t, t - stride, combine_outputs());
}

torch::Tensor PNDMScheduler::combine_outputs() const {
  const auto last = [&](size_t back) { return outputs_[outputs_.size() - back]; };
  switch (outputs_.size()) {
    case 1:
      return last(1);
    case 2:
      return (3 * last(1) - last(2)) / 2;
    case 3:
      return (23 * last(1) - 16 * last(2) + 5 * last(3)) / 12;
    default:
      return (1.0 / 24) * (55 * last(1) - 59 * last(2) + 37 * last(3) - 9 * last(4));
  }
}

torch::Tensor PNDMScheduler::transfer(const torch::Tensor& sample, int64_t t, int64_t before,
                                      torch::Tensor model_output) const {
  const auto alpha = alpha_at(t), beta = 1 - alpha;
  const auto alpha_before = before >= 0 ? noise_schedule_.alphas_cumprod[before] : final_alpha_;
  const auto beta_before = 1 - alpha_before;
  if (prediction_type() == "v_prediction") model_output = alpha.pow(0.5) * model_output + beta.pow(0.5) * sample;
  const auto denominator = alpha * beta_before.pow(0.5) + (alpha * beta * alpha_before).pow(0.5);
  return (alpha_before / alpha).pow(0.5) * sample - (alpha_before - alpha) * model_output / denominator;
}

}  // namespace lorikeet
