// Automatic mixed precision: which operators run in a lower precision, by torch's own autocast.
#pragma once

#include <torch/types.h>

namespace lorikeet {

/// Autocast for one device type; disabled means that operators run in their inputs' types.
struct AutocastState {
  bool enabled = false;
  torch::DeviceType device = torch::kCPU;
  torch::ScalarType dtype = torch::kFloat;
};

/// Autocast as it is now for `device` on this thread.
AutocastState current_autocast(torch::DeviceType device);
/// The same for the device type that the innermost AutocastScope named (the CPU without one).
AutocastState current_autocast();

/// Sets autocast while it lives. Leaving the outermost scope forgets the weights it has cast, as Python's does.
class AutocastScope {
 public:
  explicit AutocastScope(const AutocastState& state);
  ~AutocastScope();
  AutocastScope(const AutocastScope&) = delete;
  AutocastScope& operator=(const AutocastScope&) = delete;

 private:
  AutocastState previous_;
  AutocastState previous_innermost_;
};

}  // namespace lorikeet
