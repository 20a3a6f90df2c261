#include "schedulers/dpmsolver_multistep.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/errors.h"
#include "core/text.h"
#include "schedulers/config_reader.h"

namespace lorikeet {
namespace {

/// Runs shorter than this end with lower orders, if the config wants it.
constexpr int64_t kShortRun = 15;

struct AlphaSigma {
  torch::Tensor alpha, sigma;
};

/// Of the variance-preserving process that has this ratio of sigma to alpha.
AlphaSigma alpha_sigma(const torch::Tensor& ratio) {
  const auto alpha = 1 / (ratio.pow(2) + 1).pow(0.5);
  return {alpha, ratio * alpha};
}

}  // namespace

struct DPMSolverMultistepScheduler::Level {
  torch::Tensor alpha, sigma, lambda;  // lambda = log(alpha / sigma)
};

DPMSolverMultistepScheduler::DPMSolverMultistepScheduler(const SchedulerConfigReader& config)
    : SigmaScheduler("DPMSolverMultistepScheduler",
                     config.betas({"linear", "scaled_linear", "squaredcos_cap_v2"}, true),
                     config.choice("prediction_type", "epsilon", {"epsilon", "sample", "v_prediction"})),
      clipping_(SampleClipping::read(config, false)),
      sigma_spacing_(SigmaSpacing::read(config, true)),
      spacing_(
          parse_timestep_spacing(config.choice("timestep_spacing", "linspace", {"linspace", "leading", "trailing"}))),
      steps_offset_(config.integer("steps_offset", 0, 0)),
      solver_order_(config.integer("solver_order", 2, 1)),
      lower_order_final_(config.flag("lower_order_final", true)),
      euler_at_final_(config.flag("euler_at_final", false)),
      round_timesteps_(config.choice("beta_schedule", "linear", {"linear", "scaled_linear", "squaredcos_cap_v2"}) !=
                       "squaredcos_cap_v2"),
      last_sigma_(last_sigma(config)) {
  // deis and the logrho, bh1, bh2 solvers are other classes' names, taken as Diffusers takes them.
  const auto algorithm = config.choice("algorithm_type", "dpmsolver++",
                                       {"dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver", "deis"});
  plus_plus_ = algorithm == "deis" || algorithm.ends_with("++");
  sde_ = algorithm.starts_with("sde");
  heun_ = config.choice("solver_type", "midpoint", {"midpoint", "heun", "logrho", "bh1", "bh2"}) == "heun";
  if (solver_order_ > 3) config.refuse("solver_order", "1, 2 or 3");
  if (solver_order_ == 3 && sde_ && !plus_plus_) config.refuse("solver_order", "1 or 2 with sde-dpmsolver");
  if (!plus_plus_ && last_sigma_ == 0)
    config.refuse("final_sigmas_type", str("sigma_min with algorithm_type ", algorithm));
  if (config.flag("use_flow_sigmas", false)) config.refuse("use_flow_sigmas", "false");
  config.choice("variance_type", "", {"fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"});

  const double lowest = config.number("lambda_min_clipped", -std::numeric_limits<double>::infinity());
  const auto& alphas = noise_schedule_.alphas_cumprod;
  const auto lambdas = torch::sqrt(alphas).log() - torch::sqrt(1 - alphas).log();
  usable_timesteps_ = num_train_timesteps() - torch::searchsorted(lambdas.flip(0), lowest).item<int64_t>();
  if (usable_timesteps_ < 1) config.refuse("lambda_min_clipped", "a number that leaves timesteps to use");
}

std::vector<int64_t> DPMSolverMultistepScheduler::timesteps_for(int64_t n) const {
  std::vector<int64_t> steps;
  if (spacing_ == TimestepSpacing::kTrailing) {
    const double stride = static_cast<double>(num_train_timesteps()) / static_cast<double>(n);
    for (const double t : count_down(static_cast<double>(usable_timesteps_), stride))
      steps.push_back(static_cast<int64_t>(std::nearbyint(t)) - 1);
    return steps;
  }
  // One more step than wanted is laid out; the last, at timestep 0, is not taken.
  steps =
      spaced_timesteps(spacing_, usable_timesteps_, n + 1, spacing_ == TimestepSpacing::kLeading ? steps_offset_ : 0);
  steps.pop_back();
  return steps;
}

void DPMSolverMultistepScheduler::set_timesteps(int64_t n) {
  check_step_count(n);
  auto steps = timesteps_for(n);
  std::vector<double> sigmas;
  if (sigma_spacing_.kind == SigmaSpacing::Kind::kByTimesteps) {
    for (const auto t : steps) sigmas.push_back(training_.at(static_cast<double>(t)));
  } else {
    sigmas = sigma_spacing_.sigmas(training_.sigmas.back(), training_.sigmas.front(), n);
    const bool rounds = round_timesteps_ && sigma_spacing_.kind != SigmaSpacing::Kind::kExponential;
    steps.clear();
    for (const double sigma : sigmas) {
      const double t = training_.timestep_of(sigma);
      steps.push_back(static_cast<int64_t>(rounds ? std::nearbyint(t) : t));
    }
  }
  for (size_t i = 1; solver_order_ > 1 && i < sigmas.size(); ++i) {
    if (static_cast<float>(sigmas[i]) == static_cast<float>(sigmas[i - 1]))
      throw UsageError(
          str("num_inference_steps is ", n, ", which puts two steps of ", class_name(), " on timestep ", steps[i]),
          "Take fewer steps, or solver_order 1.");
  }
  begin(static_cast<int64_t>(steps.size()), torch::tensor(steps, torch::kInt64), sigmas, last_sigma_);
  outputs_.clear();
  lower_order_steps_ = 0;
}

int64_t DPMSolverMultistepScheduler::index_of(double t) const {
  const auto found = (timesteps_ == t).nonzero();
  if (found.size(0) == 0) return timesteps_.size(0) - 1;
  return found[found.size(0) > 1 ? 1 : 0][0].item<int64_t>();
}

DPMSolverMultistepScheduler::Level DPMSolverMultistepScheduler::level(int64_t index) const {
  const auto [alpha, sigma] = alpha_sigma(sigmas_[index]);
  return {alpha, sigma, alpha.log() - sigma.log()};
}

torch::Tensor DPMSolverMultistepScheduler::convert(const torch::Tensor& model_output,
                                                   const torch::Tensor& sample) const {
  const auto [alpha, sigma] = alpha_sigma(sigmas_[*step_index_]);
  const auto& type = prediction_type();
  if (plus_plus_) {
    if (type == "epsilon") return clipping_.apply((sample - sigma * model_output) / alpha);
    if (type == "sample") return clipping_.apply(model_output);
    return clipping_.apply(alpha * sample - sigma * model_output);
  }
  auto epsilon = model_output;
  if (type == "sample")
    epsilon = (sample - alpha * model_output) / sigma;
  else if (type == "v_prediction")
    epsilon = alpha * model_output + sigma * sample;
  if (!clipping_.thresholding) return epsilon;
  return (sample - alpha * clipping_.apply((sample - sigma * epsilon) / alpha)) / sigma;
}

int DPMSolverMultistepScheduler::order_of_this_step() const {
  const auto steps = timesteps_.size(0);
  const bool lowers = lower_order_final_ && steps < kShortRun;
  const bool last = *step_index_ == steps - 1 && (euler_at_final_ || lowers || last_sigma_ == 0);
  const bool last_but_one = *step_index_ == steps - 2 && lowers;
  if (solver_order_ == 1 || lower_order_steps_ < 1 || last) return 1;
  if (solver_order_ == 2 || lower_order_steps_ < 2 || last_but_one) return 2;
  return 3;
}

/// Every form is a weighted sum of the sample, the newest output D0, its first and second differences D1 and D2 over
/// lambda, and noise. The weights of D1 in the third order are those of the heun form of the second.
torch::Tensor DPMSolverMultistepScheduler::update(int order, const torch::Tensor& sample,
                                                  const torch::Tensor& noise) const {
  const auto index = *step_index_;
  const auto to = level(index + 1), from = level(index);
  const auto h = to.lambda - from.lambda;
  const auto decay = torch::exp(-h) - 1.0, growth = torch::exp(h) - 1.0, spread = 1.0 - torch::exp(-2.0 * h);

  torch::Tensor on_sample, on_output, on_slope, on_curve, on_noise;
  if (plus_plus_ && !sde_) {
    on_sample = to.sigma / from.sigma;
    on_output = -(to.alpha * decay);
    on_slope = to.alpha * (decay / h + 1.0);
    on_curve = -(to.alpha * ((decay + h) / h.pow(2) - 0.5));
  } else if (plus_plus_) {
    on_sample = to.sigma / from.sigma * torch::exp(-h);
    on_output = to.alpha * spread;
    on_slope = to.alpha * (spread / (-2.0 * h) + 1.0);
    on_curve = to.alpha * ((spread - 2.0 * h) / (2.0 * h).pow(2) - 0.5);
    on_noise = to.sigma * torch::sqrt(spread);
  } else {
    const double doubled = sde_ ? 2.0 : 1.0;
    on_sample = to.alpha / from.alpha;
    on_output = -doubled * (to.sigma * growth);
    on_slope = -doubled * (to.sigma * (growth / h - 1.0));
    on_curve = -(to.sigma * ((growth - h) / h.pow(2) - 0.5));
    if (sde_) on_noise = to.sigma * torch::sqrt(torch::exp(2 * h) - 1.0);
  }

  const auto& newest = outputs_.back();
  auto result = on_sample * sample + on_output * newest;
  if (order > 1) {
    const auto before = level(index - 1);
    const auto& second = outputs_[outputs_.size() - 2];
    const auto ratio = (from.lambda - before.lambda) / h;
    auto slope = (1.0 / ratio) * (newest - second);
    if (order == 2) {
      result = result + (heun_ ? on_slope : 0.5 * on_output) * slope;
    } else {
      const auto ratio_before = (before.lambda - level(index - 2).lambda) / h;
      const auto slope_before = (1.0 / ratio_before) * (second - outputs_[outputs_.size() - 3]);
      const auto change = slope - slope_before;
      const auto curve = (1.0 / (ratio + ratio_before)) * change;
      slope = slope + (ratio / (ratio + ratio_before)) * change;
      result = result + on_slope * slope + on_curve * curve;
    }
  }
  return sde_ ? result + on_noise * noise : result;
}

torch::Tensor DPMSolverMultistepScheduler::step(const torch::Tensor& model_output, double t,
                                                const torch::Tensor& sample, torch::Generator& generator,
                                                const StepOptions&) {
  find_step(t);
  if (static_cast<int64_t>(outputs_.size()) == solver_order_) outputs_.erase(outputs_.begin());
  outputs_.push_back(convert(model_output, sample));
  const auto noise = sde_ ? randn_like(model_output, generator, torch::kFloat32) : torch::Tensor();
  const auto result = update(order_of_this_step(), sample.to(torch::kFloat32), noise);
  lower_order_steps_ = std::min(lower_order_steps_ + 1, solver_order_);
  ++*step_index_;
  return result.to(outputs_.back().scalar_type());
}

torch::Tensor DPMSolverMultistepScheduler::add_noise(const torch::Tensor& x0, const torch::Tensor& noise,
                                                     const torch::Tensor& timesteps) {
  const auto [alpha, sigma] = alpha_sigma(sigmas_like(x0, timesteps));
  return alpha * x0 + sigma * noise;
}

}  // namespace lorikeet
