#include "schedulers/euler.h"

#include <algorithm>
#include <cmath>

#include "core/errors.h"
#include "schedulers/config_reader.h"

namespace lorikeet {
namespace {

/// x0 from what the model said about the float32 `sample` at `sigma`; noise is taken off for `sigma_hat`.
torch::Tensor predict_x0(const std::string& prediction_type, const torch::Tensor& model_output,
                         const torch::Tensor& sample, const torch::Tensor& sigma, const torch::Tensor& sigma_hat) {
  if (prediction_type == "sample") return model_output;
  if (prediction_type == "epsilon") return sample - sigma_hat * model_output;
  const auto level = sigma.pow(2) + 1;
  return model_output * (-sigma / level.pow(0.5)) + sample / level;
}

}  // namespace

EulerFamilyScheduler::EulerFamilyScheduler(std::string class_name, const SchedulerConfigReader& config,
                                           std::string prediction_type)
    : SigmaScheduler(std::move(class_name), config.betas({"linear", "scaled_linear", "squaredcos_cap_v2"}, true),
                     std::move(prediction_type)),
      spacing_(
          parse_timestep_spacing(config.choice("timestep_spacing", "linspace", {"linspace", "leading", "trailing"}))),
      steps_offset_(config.integer("steps_offset", 0, 0)) {}

double EulerFamilyScheduler::init_noise_sigma() const {
  check_ready();
  const auto largest = sigmas_.max();
  return (spacing_ == TimestepSpacing::kLeading ? (largest.pow(2) + 1).pow(0.5) : largest).item<double>();
}

torch::Tensor EulerFamilyScheduler::scale_model_input(const torch::Tensor& sample, double t) {
  find_step(t);
  return sample / (sigmas_[*step_index_].pow(2) + 1).pow(0.5);
}

std::vector<float> EulerFamilyScheduler::timesteps_for(int64_t n) const {
  if (spacing_ != TimestepSpacing::kLinspace) {
    const auto steps = spaced_timesteps(spacing_, num_train_timesteps(), n, steps_offset_);
    return {steps.begin(), steps.end()};
  }
  // Unlike in the discrete schedulers the fractions stay.
  const auto steps = linspace(0, static_cast<double>(num_train_timesteps() - 1), n);
  return {steps.rbegin(), steps.rend()};
}

EulerDiscreteScheduler::EulerDiscreteScheduler(const SchedulerConfigReader& config)
    : EulerFamilyScheduler("EulerDiscreteScheduler", config,
                           config.choice("prediction_type", "epsilon", {"epsilon", "sample", "v_prediction"})),
      sigma_spacing_(SigmaSpacing::read(config, false)),
      log_linear_(config.choice("interpolation_type", "linear", {"linear", "log_linear"}) == "log_linear"),
      continuous_(config.choice("timestep_type", "discrete", {"discrete", "continuous"}) == "continuous" &&
                  prediction_type() == "v_prediction"),
      last_sigma_(last_sigma(config)) {}

void EulerDiscreteScheduler::set_timesteps(int64_t n) {
  check_step_count(n);
  auto steps = timesteps_for(n);
  std::vector<double> sigmas;
  if (log_linear_) {
    const auto values =
        torch::linspace(training_.log_sigmas.back(), training_.log_sigmas.front(), n + 1, torch::kFloat32).exp();
    sigmas.assign(values.data_ptr<float>(), values.data_ptr<float>() + values.numel());
  } else {
    for (const float t : steps) sigmas.push_back(training_.at(t));
  }
  if (sigma_spacing_.kind != SigmaSpacing::Kind::kByTimesteps) {
    sigmas = sigma_spacing_.sigmas(sigmas.front(), sigmas.back(), n);
    steps.clear();
    for (const double sigma : sigmas) steps.push_back(static_cast<float>(training_.timestep_of(sigma)));
  }
  begin(n, torch::tensor(steps, torch::kFloat32), sigmas, last_sigma_);
  if (continuous_) timesteps_ = 0.25 * sigmas_.slice(0, 0, -1).log();
}

torch::Tensor EulerDiscreteScheduler::step(const torch::Tensor& model_output, double t, const torch::Tensor& sample,
                                           torch::Generator& generator, const StepOptions& options) {
  find_step(t);
  auto x = sample.to(torch::kFloat32);
  const auto sigma = sigmas_[*step_index_];
  const double level = sigma.item<double>();
  const bool churns = options.s_churn > 0 && options.s_tmin <= level && level <= options.s_tmax;
  const double gamma =
      churns ? std::min(options.s_churn / static_cast<double>(sigmas_.size(0) - 1), std::sqrt(2.0) - 1) : 0;
  const auto sigma_hat = sigma * (gamma + 1);
  if (churns) {
    const auto noise = randn_like(model_output, generator, model_output.scalar_type()) * options.s_noise;
    x = x + noise * (sigma_hat.pow(2) - sigma.pow(2)).pow(0.5);
  }
  const auto x0 = predict_x0(prediction_type(), model_output, x, sigma, sigma_hat);
  const auto slope = (x - x0) / sigma_hat;
  ++*step_index_;
  return (x + slope * (sigmas_[*step_index_] - sigma_hat)).to(model_output.scalar_type());
}

EulerAncestralDiscreteScheduler::EulerAncestralDiscreteScheduler(const SchedulerConfigReader& config)
    : EulerFamilyScheduler("EulerAncestralDiscreteScheduler", config,
                           config.choice("prediction_type", "epsilon", {"epsilon", "v_prediction"})) {}

void EulerAncestralDiscreteScheduler::set_timesteps(int64_t n) {
  check_step_count(n);
  const auto steps = timesteps_for(n);
  std::vector<double> sigmas;
  for (const float t : steps) sigmas.push_back(training_.at(t));
  begin(n, torch::tensor(steps, torch::kFloat32), sigmas, 0);
}

torch::Tensor EulerAncestralDiscreteScheduler::step(const torch::Tensor& model_output, double t,
                                                    const torch::Tensor& sample, torch::Generator& generator,
                                                    const StepOptions&) {
  find_step(t);
  const auto x = sample.to(torch::kFloat32);
  const auto from = sigmas_[*step_index_], to = sigmas_[*step_index_ + 1];
  const auto x0 = predict_x0(prediction_type(), model_output, x, from, from);
  // The step goes down past the next sigma, and fresh noise brings it back up.
  const auto up = (to.pow(2) * (from.pow(2) - to.pow(2)) / from.pow(2)).pow(0.5);
  const auto down = (to.pow(2) - up.pow(2)).pow(0.5);
  const auto slope = (x - x0) / from;
  const auto noise = randn_like(model_output, generator, model_output.scalar_type());
  ++*step_index_;
  return (x + slope * (down - from) + noise * up).to(model_output.scalar_type());
}

}  // namespace lorikeet
