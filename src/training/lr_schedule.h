// Learning-rate schedules: a factor of the base rate per optimizer step. Source: diffusers.optimization.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lorikeet {

struct LrScheduleOptions {
  std::string name = "constant";  // one of lr_schedule_names()
  double base = 1e-4;             // the learning rate at factor 1
  int64_t warmup_steps = 0;       // steps from 0 up to the base; "constant" has none
  int64_t total_steps = 1;
  int64_t cycles = 1;  // hard restarts of cosine_with_restarts
  double power = 1.0;  // of polynomial, which ends at 1e-7
};

class LrSchedule {
 public:
  /// Throws UsageError for an unknown name, and for polynomial when the base rate is not above 1e-7.
  explicit LrSchedule(LrScheduleOptions options);
  /// The learning rate of optimizer step `step`, counted from 0.
  double rate(int64_t step) const { return options_.base * factor(step); }

 private:
  double factor(int64_t step) const;
  LrScheduleOptions options_;
};

/// linear, cosine, cosine_with_restarts, polynomial, constant, constant_with_warmup
const std::vector<std::string>& lr_schedule_names();

}  // namespace lorikeet
