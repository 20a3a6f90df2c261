// Which optimizer, and its numbers. Torch-free: the checks of flags must not wait for libtorch.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace lorikeet {

/// Unset numbers are the reference implementation's own (see with_defaults); the last three are Prodigy's.
struct OptimizerOptions {
  std::string name = "adamw";          // one of optimizer_names()
  std::optional<double> beta1, beta2;  // in [0, 1)
  std::optional<double> weight_decay;  // per unit of learning rate
  std::optional<double> epsilon;       // guard against a division by zero
  double d_coef = 1;                   // factor of the estimated rate
  bool safeguard_warmup = false;       // keep the learning rate out of the estimate's denominator
  bool use_bias_correction = false;    // Adam's, off in the reference implementation
};

/// adamw, adamw8bit, adafactor, lion, prodigy, schedulefree
const std::vector<std::string>& optimizer_names();

/// The options with every number set that the optimizer has. Throws UsageError for an unknown name, a number out of
/// range, and for an option that the optimizer does not have.
OptimizerOptions with_defaults(OptimizerOptions options);

}  // namespace lorikeet
