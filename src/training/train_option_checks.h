// What no single option can tell: how the shared ones go with each other and with the device.
#pragma once

#include "training/train_options.h"

namespace lorikeet {

/// Checks the shared options with each other, after each by itself. Throws UsageError.
void validate_shared(const TrainOptions& options);

/// Throws UsageError for a text that is not UTF-8: models read nothing else, and checkpoints hold nothing else.
void check_text(const char* flag, const std::optional<std::string>& text);

/// Checks what depends on the device that was chosen: fp16 needs a GPU. Throws UsageError.
void validate_for_device(const TrainOptions& options, bool device_is_cpu);

/// What of the shared options is allowed, but has no effect or not the one it may seem to have; one sentence each.
std::vector<std::string> shared_warnings(const TrainOptions& options);

}  // namespace lorikeet
