// What every noise scheduler can do. The loop around it:
//   scheduler.set_timesteps(n); latents = noise * scheduler.init_noise_sigma();
//   for t in timesteps: latents = scheduler.step(model(scheduler.scale_model_input(latents, t), t), t, latents, rng)
// Source: diffusers/schedulers/scheduling_*.py, version 0.42.1; same operations in the same order.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "schedulers/noise_schedule.h"

namespace lorikeet {

/// Arguments of single schedulers; the others ignore them, as Diffusers' pipelines do.
struct StepOptions {
  double eta = 0;  // DDIM: 0 is deterministic, 1 is as random as DDPM
  bool use_clipped_model_output = false;
  double s_churn = 0, s_tmin = 0, s_tmax = std::numeric_limits<double>::infinity(), s_noise = 1;  // Euler
};

class Scheduler {
 public:
  virtual ~Scheduler() = default;
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// Begins a new run of about n steps (PNDM takes a few more) and forgets the last one.
  /// Throws UsageError when n is below 1 or above num_train_timesteps.
  virtual void set_timesteps(int64_t n) = 0;
  /// [steps], falling, on the CPU: int64 (DDPM, DDIM, PNDM, DPM-Solver) or float32 (Euler).
  const torch::Tensor& timesteps() const { return timesteps_; }
  /// The first latents are standard normal noise times this.
  virtual double init_noise_sigma() const { return 1; }
  /// What the model gets to see of `sample` [B, ...] at timestep t.
  virtual torch::Tensor scale_model_input(const torch::Tensor& sample, double t) { return sample; }
  /// The sample one step less noisy; dtype as Diffusers gives it. Draws come from `generator`, on its own device,
  /// in Diffusers' order, shape and dtype. Throws UsageError before set_timesteps or for a t not in timesteps().
  virtual torch::Tensor step(const torch::Tensor& model_output, double t, const torch::Tensor& sample,
                             torch::Generator& generator, const StepOptions& options = {}) = 0;
  /// `x0` [B, ...] as noisy as at each timestep [B] or [1]. Euler and DPM-Solver count by timesteps() as set.
  virtual torch::Tensor add_noise(const torch::Tensor& x0, const torch::Tensor& noise, const torch::Tensor& timesteps) {
    return noise_schedule_.add_noise(x0, noise, timesteps);
  }
  /// See NoiseSchedule::get_velocity.
  torch::Tensor get_velocity(const torch::Tensor& x0, const torch::Tensor& noise,
                             const torch::Tensor& timesteps) const {
    return noise_schedule_.get_velocity(x0, noise, timesteps);
  }

  const NoiseSchedule& noise_schedule() const { return noise_schedule_; }
  int64_t num_train_timesteps() const { return noise_schedule_.alphas_cumprod.size(0); }
  /// epsilon, v_prediction or sample
  const std::string& prediction_type() const { return prediction_type_; }
  /// Diffusers' class name
  const std::string& class_name() const { return class_name_; }

 protected:
  Scheduler(std::string class_name, NoiseSchedule noise_schedule, std::string prediction_type)
      : noise_schedule_(std::move(noise_schedule)),
        prediction_type_(std::move(prediction_type)),
        class_name_(std::move(class_name)) {}

  /// Throws UsageError for a count that set_timesteps cannot serve.
  void check_step_count(int64_t n) const;
  /// Throws UsageError when set_timesteps was never called.
  void check_ready() const;
  /// alphas_cumprod[t], 0-dim; throws UsageError for t outside the schedule (-1, which rounding of trailing steps can
  /// give, is the last one, as in Python).
  torch::Tensor alpha_at(int64_t t) const;
  /// Throws UsageError when one of the timesteps has no alpha: many steps and a steps_offset can run over the end.
  void check_timesteps_in_schedule() const;

  NoiseSchedule noise_schedule_;
  torch::Tensor timesteps_;
  int64_t num_inference_steps_ = 0;

 private:
  std::string prediction_type_, class_name_;
};

/// Standard normal numbers of `like`'s shape, drawn on the generator's device and moved to `like`'s.
torch::Tensor randn_like(const torch::Tensor& like, torch::Generator& generator, torch::ScalarType dtype);

}  // namespace lorikeet
