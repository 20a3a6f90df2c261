#include "training/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

constexpr double kPolynomialEnd = 1e-7;

double cosine(double turns) { return std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * turns))); }

}  // namespace

const std::vector<std::string>& lr_schedule_names() {
  static const std::vector<std::string> names = {"linear",     "cosine",   "cosine_with_restarts",
                                                 "polynomial", "constant", "constant_with_warmup"};
  return names;
}

LrSchedule::LrSchedule(LrScheduleOptions options) : options_(std::move(options)) {
  const auto& names = lr_schedule_names();
  if (std::find(names.begin(), names.end(), options_.name) == names.end()) {
    std::string known;
    for (const auto& name : names) known += (known.empty() ? "" : ", ") + name;
    throw UsageError(str("--lr_scheduler is '", options_.name, "', expected one of ", known));
  }
  if (options_.name == "polynomial" && options_.base <= kPolynomialEnd) {
    throw UsageError(str("--learning_rate is ", options_.base, ", but --lr_scheduler=polynomial ends at ",
                         kPolynomialEnd, " and must start above it"),
                     "give a higher --learning_rate, or another --lr_scheduler");
  }
}

double LrSchedule::factor(int64_t step) const {
  const auto& o = options_;
  if (o.name == "constant") return 1;
  if (step < o.warmup_steps)
    return static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, o.warmup_steps));
  if (o.name == "constant_with_warmup") return 1;
  const auto after = static_cast<double>(std::max<int64_t>(1, o.total_steps - o.warmup_steps));
  if (o.name == "linear") return std::max(0.0, static_cast<double>(o.total_steps - step) / after);
  if (o.name == "polynomial") {
    if (step > o.total_steps) return kPolynomialEnd / o.base;
    // Here the peer divides by the steps after warm-up as they are; with none left only step == total_steps gets here.
    const double remaining = 1 - static_cast<double>(step - o.warmup_steps) / after;
    return ((o.base - kPolynomialEnd) * std::pow(remaining, o.power) + kPolynomialEnd) / o.base;
  }
  const double progress = static_cast<double>(step - o.warmup_steps) / after;
  if (o.name == "cosine") return cosine(progress);
  return progress >= 1 ? 0 : cosine(std::fmod(static_cast<double>(o.cycles) * progress, 1.0));
}

}  // namespace lorikeet
