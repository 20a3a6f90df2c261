// A LoRA of lower rank that stays as close as possible.
#pragma once

#include "lora/lora_parts.h"
#include "lora/truncation_report.h"

namespace lorikeet {

/// Metadata of a resized file: "rank=4", "keep_energy=0.95" or both.
inline constexpr const char* kResizedKey = "lorikeet.resized";

struct ResizedLora {
  LoraFile file;  // plain LoRA with strengths of 1
  TruncationReport report;
};

/// Every layer's change as its best approximation within `options`, per layer, whatever kind it was; so this makes
/// plain LoRA of LoHa, LoKr and whole differences too. Biases, norms' differences, DoRA's lengths and words stay as
/// they are: of DoRA it is the product that is approximated. A rank is never raised: more would add nothing. Throws
/// UsageError: options out of range; FormatError: factors that do not go together; NumericError: numbers that are not
/// finite; Interrupted: see LayerProgress.
ResizedLora resize_lora(const LoraFile& file, const TruncateOptions& options, const LayerProgress& progress = {});

}  // namespace lorikeet
