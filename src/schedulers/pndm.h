// Pseudo linear multi-step (PLMS) after Runge-Kutta steps (PRK), or without them: Liu et al., arXiv:2202.09778.
// Source: diffusers PNDMScheduler.
#pragma once

#include <vector>

#include "schedulers/scheduler.h"
#include "schedulers/timestep_spacing.h"

namespace lorikeet {

class SchedulerConfigReader;

class PNDMScheduler : public Scheduler {
 public:
  /// Throws FormatError for values this class does not have (it knows no prediction_type `sample`).
  explicit PNDMScheduler(const SchedulerConfigReader& config);

  /// One step more than n with skip_prk_steps, and 9 more without. Throws UsageError for n below 4 without it.
  void set_timesteps(int64_t n) override;
  /// Never draws.
  torch::Tensor step(const torch::Tensor& model_output, double t, const torch::Tensor& sample,
                     torch::Generator& generator, const StepOptions& options = {}) override;

 private:
  torch::Tensor runge_kutta_step(const torch::Tensor& model_output, int64_t t, const torch::Tensor& sample);
  torch::Tensor multistep_step(const torch::Tensor& model_output, int64_t t, const torch::Tensor& sample);
  /// The four weights of Adams-Bashforth, or as many as there are outputs.
  torch::Tensor combine_outputs() const;
  /// Formula (9) of the paper.
  torch::Tensor transfer(const torch::Tensor& sample, int64_t t, int64_t before, torch::Tensor model_output) const;

  bool skip_prk_steps_;
  torch::Tensor final_alpha_;
  TimestepSpacing spacing_;
  int64_t steps_offset_;

  std::vector<int64_t> prk_timesteps_;
  int64_t counter_ = 0;
  std::vector<torch::Tensor> outputs_;  // of the last steps, at most 4, newest last
  torch::Tensor output_sum_;            // within one Runge-Kutta step of four parts
  torch::Tensor first_sample_;          // where the present step began
};

}  // namespace lorikeet
