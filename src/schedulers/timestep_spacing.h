// Which training timesteps a run of n steps visits, to the last bit as numpy computes them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lorikeet {

enum class TimestepSpacing { kLinspace, kLeading, kTrailing };

TimestepSpacing parse_timestep_spacing(const std::string& name);

/// numpy.linspace(start, stop, count).
std::vector<double> linspace(double start, double stop, int64_t count);
/// numpy.arange(start, 0, -step) for start and step above 0.
std::vector<double> count_down(double start, double step);

/// n timesteps, falling, rounded to integers (half to even).
std::vector<int64_t> spaced_timesteps(TimestepSpacing spacing, int64_t train_steps, int64_t n, int64_t steps_offset);

}  // namespace lorikeet
