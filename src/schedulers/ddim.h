// Song et al., arXiv:2010.02502. Source: diffusers DDIMScheduler.
#pragma once

#include "schedulers/sample_clipping.h"
#include "schedulers/scheduler.h"
#include "schedulers/timestep_spacing.h"

namespace lorikeet {

class SchedulerConfigReader;

class DDIMScheduler : public Scheduler {
 public:
  /// Throws FormatError for values this class does not have.
  explicit DDIMScheduler(const SchedulerConfigReader& config);

  void set_timesteps(int64_t n) override;
  /// Draws noise only when options.eta is above 0.
  torch::Tensor step(const torch::Tensor& model_output, double t, const torch::Tensor& sample,
                     torch::Generator& generator, const StepOptions& options = {}) override;

 private:
  SampleClipping clipping_;
  torch::Tensor final_alpha_;  // alphas_cumprod before the first timestep
  TimestepSpacing spacing_;
  int64_t steps_offset_;
};

}  // namespace lorikeet
