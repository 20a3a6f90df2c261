// Ho et al., arXiv:2006.11239. Source: diffusers DDPMScheduler.
#pragma once

#include "schedulers/sample_clipping.h"
#include "schedulers/scheduler.h"
#include "schedulers/timestep_spacing.h"

namespace lorikeet {

class SchedulerConfigReader;

class DDPMScheduler : public Scheduler {
 public:
  /// Throws FormatError for values this class does not have.
  explicit DDPMScheduler(const SchedulerConfigReader& config);

  /// Also throws UsageError for variance_type fixed_large_log, whose samples are not finite (nor in Diffusers).
  void set_timesteps(int64_t n) override;
  torch::Tensor step(const torch::Tensor& model_output, double t, const torch::Tensor& sample,
                     torch::Generator& generator, const StepOptions& options = {}) override;

 private:
  /// The timestep after t in the run, -1 after the last.
  int64_t previous_timestep(int64_t t) const;
  /// Factor of the fresh noise, a 0-dim tensor.
  torch::Tensor noise_scale(const torch::Tensor& alpha, const torch::Tensor& alpha_before) const;

  SampleClipping clipping_;
  std::string variance_type_;
  TimestepSpacing spacing_;
  int64_t steps_offset_;
};

}  // namespace lorikeet
