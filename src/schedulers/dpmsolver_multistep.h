// DPM-Solver and DPM-Solver++ with the outputs of earlier steps: Lu et al., arXiv:2206.00927 and arXiv:2211.01095.
// Source: diffusers DPMSolverMultistepScheduler.
#pragma once

#include <vector>

#include "schedulers/sample_clipping.h"
#include "schedulers/sigma_scheduler.h"
#include "schedulers/timestep_spacing.h"

namespace lorikeet {

class SchedulerConfigReader;

class DPMSolverMultistepScheduler : public SigmaScheduler {
 public:
  /// Throws FormatError for values this class does not have, and for flow matching and learned variances.
  explicit DPMSolverMultistepScheduler(const SchedulerConfigReader& config);

  /// Also throws UsageError when two steps fall on one sigma, which orders above 1 cannot step over.
  void set_timesteps(int64_t n) override;
  /// Computes in float32, returns the dtype of model_output and sample. The sde types draw float32 noise every step.
  torch::Tensor step(const torch::Tensor& model_output, double t, const torch::Tensor& sample,
                     torch::Generator& generator, const StepOptions& options = {}) override;
  /// alpha x0 + sigma noise at each timestep, which counts as the last one if it is not in timesteps().
  torch::Tensor add_noise(const torch::Tensor& x0, const torch::Tensor& noise, const torch::Tensor& timesteps) override;

 protected:
  int64_t index_of(double t) const override;

 private:
  struct Level;
  Level level(int64_t index) const;
  std::vector<int64_t> timesteps_for(int64_t n) const;
  /// x0 for the ++ types, epsilon for the others.
  torch::Tensor convert(const torch::Tensor& model_output, const torch::Tensor& sample) const;
  int order_of_this_step() const;
  torch::Tensor update(int order, const torch::Tensor& sample, const torch::Tensor& noise) const;

  SampleClipping clipping_;
  SigmaSpacing sigma_spacing_;
  TimestepSpacing spacing_;
  int64_t steps_offset_;
  bool plus_plus_ = true, sde_ = false;  // the algorithm_type
  bool heun_ = false;                    // the solver_type
  int64_t solver_order_;
  bool lower_order_final_, euler_at_final_;
  bool round_timesteps_;  // those found from sigmas
  double last_sigma_;
  int64_t usable_timesteps_;  // below lambda_min_clipped

  std::vector<torch::Tensor> outputs_;  // converted, newest last, at most solver_order of them
  int64_t lower_order_steps_ = 0;       // steps done, at most solver_order
};

}  // namespace lorikeet
