// Algorithm 2 of Karras et al., arXiv:2206.00364, with and without ancestral noise.
// Source: diffusers EulerDiscreteScheduler and EulerAncestralDiscreteScheduler.
#pragma once

#include "schedulers/sigma_scheduler.h"
#include "schedulers/timestep_spacing.h"

namespace lorikeet {

/// Common to both: float32 timesteps, and model inputs divided by sqrt(sigma^2 + 1).
class EulerFamilyScheduler : public SigmaScheduler {
 public:
  double init_noise_sigma() const override;
  torch::Tensor scale_model_input(const torch::Tensor& sample, double t) override;

 protected:
  EulerFamilyScheduler(std::string class_name, const SchedulerConfigReader& config, std::string prediction_type);

  std::vector<float> timesteps_for(int64_t n) const;

 private:
  TimestepSpacing spacing_;
  int64_t steps_offset_;
};

class EulerDiscreteScheduler : public EulerFamilyScheduler {
 public:
  /// Throws FormatError for values this class does not have.
  explicit EulerDiscreteScheduler(const SchedulerConfigReader& config);

  void set_timesteps(int64_t n) override;
  /// Computes in float32, returns model_output's dtype. Draws noise only when options.s_churn is above 0.
  torch::Tensor step(const torch::Tensor& model_output, double t, const torch::Tensor& sample,
                     torch::Generator& generator, const StepOptions& options = {}) override;

 private:
  SigmaSpacing sigma_spacing_;
  bool log_linear_;  // sigmas by equal ratios instead of by timesteps
  bool continuous_;  // the model is told 0.25 log(sigma) for a timestep
  double last_sigma_;
};

class EulerAncestralDiscreteScheduler : public EulerFamilyScheduler {
 public:
  /// Throws FormatError for values this class does not have (it knows no prediction_type `sample`).
  explicit EulerAncestralDiscreteScheduler(const SchedulerConfigReader& config);

  void set_timesteps(int64_t n) override;
  /// Computes in float32, returns model_output's dtype. Draws noise of that dtype at every step.
  torch::Tensor step(const torch::Tensor& model_output, double t, const torch::Tensor& sample,
                     torch::Generator& generator, const StepOptions& options = {}) override;
};

}  // namespace lorikeet
