// What Euler, Euler ancestral and DPM-Solver share: a run is a list of sigmas, walked by an index.
#pragma once

#include <optional>
#include <vector>

#include "schedulers/scheduler.h"
#include "schedulers/sigma_spacing.h"

namespace lorikeet {

class SchedulerConfigReader;

class SigmaScheduler : public Scheduler {
 public:
  /// x0 + sigma noise, with the sigma of each timestep, which must be one of timesteps().
  /// Throws UsageError before set_timesteps.
  torch::Tensor add_noise(const torch::Tensor& x0, const torch::Tensor& noise, const torch::Tensor& timesteps) override;

 protected:
  SigmaScheduler(std::string class_name, const BetaOptions& betas, std::string prediction_type);

  /// Begins a run: n falling sigmas and the last one, `timesteps` of any dtype.
  void begin(int64_t n, torch::Tensor timesteps, std::vector<double> sigmas, double last_sigma);
  /// Finds the index of t if this is the first call of a run. Throws UsageError after the last step.
  void find_step(double t);
  /// Of a t that comes twice the second: a run begun in the middle then skips no sigma. Throws UsageError for none.
  virtual int64_t index_of(double t) const;
  /// The sigmas of add_noise, in x0's dtype and shaped to broadcast over it.
  torch::Tensor sigmas_like(const torch::Tensor& x0, const torch::Tensor& timesteps) const;
  /// The smallest training sigma, or 0.
  double last_sigma(const SchedulerConfigReader& config) const;

  TrainingSigmas training_;
  torch::Tensor sigmas_;  // float32 [steps + 1], on the CPU
  std::optional<int64_t> step_index_;
};

}  // namespace lorikeet
