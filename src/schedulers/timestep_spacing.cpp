#include "schedulers/timestep_spacing.h"

#include <algorithm>
#include <cmath>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {

TimestepSpacing parse_timestep_spacing(const std::string& name) {
  if (name == "linspace") return TimestepSpacing::kLinspace;
  if (name == "leading") return TimestepSpacing::kLeading;
  if (name == "trailing") return TimestepSpacing::kTrailing;
  throw FormatError(str("timestep_spacing is '", name, "', expected linspace, leading or trailing"));
}

std::vector<double> linspace(double start, double stop, int64_t count) {
  std::vector<double> values(count);
  const double step = count > 1 ? (stop - start) / static_cast<double>(count - 1) : 0;
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<double>(i) * step + start;
  if (count > 1) values.back() = stop;
  return values;
}

std::vector<double> count_down(double start, double step) {
  const auto count = static_cast<int64_t>(std::ceil(start / step));
  // numpy keeps the difference of the first two values, not the step itself.
  const double difference = (start - step) - start;
  std::vector<double> values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = start + static_cast<double>(i) * difference;
  return values;
}

std::vector<int64_t> spaced_timesteps(TimestepSpacing spacing, int64_t train_steps, int64_t n, int64_t steps_offset) {
  std::vector<int64_t> steps;
  if (spacing == TimestepSpacing::kTrailing) {
    for (const double t : count_down(static_cast<double>(train_steps), static_cast<double>(train_steps) / n))
      steps.push_back(static_cast<int64_t>(std::nearbyint(t)) - 1);
    return steps;
  }
  if (spacing == TimestepSpacing::kLinspace) {
    for (const double t : linspace(0, static_cast<double>(train_steps - 1), n))
      steps.push_back(static_cast<int64_t>(std::nearbyint(t)));
  } else {
    const int64_t ratio = train_steps / n;
    for (int64_t i = 0; i < n; ++i) steps.push_back(i * ratio + steps_offset);
  }
  std::reverse(steps.begin(), steps.end());
  return steps;
}

}  // namespace lorikeet
