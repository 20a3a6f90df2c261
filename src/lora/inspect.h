// What is in a LoRA file, for people.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lora/lora_parts.h"

namespace lorikeet {

struct LayerSummary {
  std::string part, path;  // "unet", "down_blocks.0..."
  std::string kind;        // "lora", "loha", "lokr", "full", with "+dora", "+bias"
  int64_t rank = 0;        // 0: no low rank
  double strength = 1;     // of the product: alpha / rank
  double norm = 0;         // Frobenius, of strength · ΔW
};

struct LoraSummary {
  std::vector<LayerSummary> layers;
  /// "Stable Diffusion 1.x", "Stable Diffusion 2.x", "Stable Diffusion XL", by the width of the texts that
  /// cross-attention and text encoder take; "unknown (texts of width 128)" for another.
  std::string base_family;
  int64_t parameters = 0;  // numbers in all factors
};

/// Throws FormatError when factors do not go together; Interrupted: see LayerProgress.
LoraSummary inspect_lora(const LoraFile& file, const LayerProgress& progress = {});

}  // namespace lorikeet
