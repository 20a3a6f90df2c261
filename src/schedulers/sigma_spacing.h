// Noise levels sigma = sqrt((1 - a) / a) for Euler and DPM-Solver, to the last bit as numpy computes them where
// numpy itself does not depend on the machine.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "schedulers/noise_schedule.h"

namespace lorikeet {

class SchedulerConfigReader;

/// The training sigmas, rising with the timestep, and their logarithms.
struct TrainingSigmas {
  explicit TrainingSigmas(const NoiseSchedule& schedule);

  /// Linear interpolation between timesteps, clamped at both ends.
  double at(double timestep) const;
  /// The timestep, with its fraction, whose log sigma is log(sigma); clamped at both ends.
  double timestep_of(double sigma) const;

  std::vector<float> sigmas, log_sigmas;
};

/// How sigmas are laid out between the largest and the smallest.
struct SigmaSpacing {
  enum class Kind { kByTimesteps, kKarras, kExponential, kLu };

  /// Reads use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas (refused), use_lu_lambdas (if the class has
  /// it), sigma_min and sigma_max.
  static SigmaSpacing read(const SchedulerConfigReader& config, bool has_lu);
  /// n falling values between `largest` and `smallest` (or sigma_max and sigma_min, where set); not for kByTimesteps.
  std::vector<double> sigmas(double largest, double smallest, int64_t n) const;

  Kind kind = Kind::kByTimesteps;
  std::optional<double> sigma_min, sigma_max;
};

}  // namespace lorikeet
