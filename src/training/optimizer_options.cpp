#include "training/optimizer_options.h"

#include <algorithm>
#include <cmath>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

/// An optimizer and its reference implementation's defaults, unset what it does not have.
struct Defaults {
  std::string name;
  std::optional<double> beta1, beta2, weight_decay, epsilon;
};

const std::vector<Defaults>& all_defaults() {
  static const std::vector<Defaults> defaults = {{"adamw", 0.9, 0.999, 1e-2, 1e-8},
                                                 {"adamw8bit", 0.9, 0.999, 1e-2, 1e-8},
                                                 {"adafactor", std::nullopt, std::nullopt, 0.0, std::nullopt},
                                                 {"lion", 0.9, 0.99, 0.0, std::nullopt},
                                                 {"prodigy", 0.9, 0.999, 0.0, 1e-8},
                                                 {"schedulefree", 0.9, 0.999, 0.0, 1e-8}};
  return defaults;
}

const Defaults& defaults_of(const std::string& name) {
  const auto& all = all_defaults();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Defaults& each) { return each.name == name; });
  if (found != all.end()) return *found;
  std::string known;
  for (const auto& each : all) known += (known.empty() ? "" : ", ") + each.name;
  throw UsageError(str("--optimizer is '", name, "', expected one of ", known));
}

void fill(std::optional<double>& value, const std::optional<double>& fallback, const std::string& flag,
          const std::string& optimizer) {
  if (value && !fallback) {
    throw UsageError(str("--", flag, " is ", *value, ", but --optimizer=", optimizer, " has no such number"),
                     str("leave --", flag, " out"));
  }
  if (!value) value = fallback;
}

void check(const std::optional<double>& value, const std::string& flag, double below) {
  if (!value || (std::isfinite(*value) && *value >= 0 && *value < below)) return;
  const auto expected = below == 1 ? "a number in [0, 1)" : "a finite number of at least 0";
  throw UsageError(str("--", flag, " is ", *value, ", expected ", expected));
}

void check_above_zero(double value, const std::string& flag, const std::string& optimizer) {
  if (value > 0) return;
  throw UsageError(str("--", flag, " is 0, but --optimizer=", optimizer, " needs it above 0"),
                   str("leave --", flag, " out"));
}

void check_prodigy(const OptimizerOptions& options) {
  if (options.name == "prodigy") {
    if (std::isfinite(options.d_coef) && options.d_coef > 0) return;
    throw UsageError(str("--prodigy_d_coef is ", options.d_coef, ", expected a finite number above 0"));
  }
  const auto* flag = options.d_coef != 1           ? "prodigy_d_coef"
                     : options.safeguard_warmup    ? "prodigy_safeguard_warmup"
                     : options.use_bias_correction ? "prodigy_use_bias_correction"
                                                   : nullptr;
  if (flag == nullptr) return;
  throw UsageError(str("--", flag, " is given, but the optimizer is ", options.name),
                   "leave it out, or take --optimizer=prodigy");
}

}  // namespace

const std::vector<std::string>& optimizer_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> result;
    for (const auto& each : all_defaults()) result.push_back(each.name);
    return result;
  }();
  return names;
}

OptimizerOptions with_defaults(OptimizerOptions options) {
  const auto& defaults = defaults_of(options.name);
  fill(options.beta1, defaults.beta1, "adam_beta1", options.name);
  fill(options.beta2, defaults.beta2, "adam_beta2", options.name);
  fill(options.weight_decay, defaults.weight_decay, "adam_weight_decay", options.name);
  fill(options.epsilon, defaults.epsilon, "adam_epsilon", options.name);
  check(options.beta1, "adam_beta1", 1);
  check(options.beta2, "adam_beta2", 1);
  check(options.weight_decay, "adam_weight_decay", HUGE_VAL);
  check(options.epsilon, "adam_epsilon", HUGE_VAL);
  check_prodigy(options);
  if (options.name == "prodigy") check_above_zero(*options.epsilon, "adam_epsilon", options.name);
  if (options.name == "prodigy" || options.name == "schedulefree") {
    check_above_zero(*options.beta1, "adam_beta1", options.name);
  }
  return options;
}

}  // namespace lorikeet
