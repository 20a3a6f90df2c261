// Going through a LoRA file model by model, for work that treats all models' layers alike.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "lora/lora_file.h"

namespace lorikeet {

/// One of the models whose layers a file changes.
struct LoraPart {
  const char* name;  // as in Diffusers' keys and folders
  std::vector<LayerChange> LoraFile::*layers;
};

inline constexpr LoraPart kLoraParts[] = {
    {"unet", &LoraFile::unet},
    {"text_encoder", &LoraFile::text_encoder},
    {"text_encoder_2", &LoraFile::text_encoder_2},
};

/// Told after each layer how many of all are done; the work ends with Interrupted when it returns false. May be empty.
using LayerProgress = std::function<bool(int64_t done, int64_t total)>;

/// Tells `progress`. Throws Interrupted when it returns false, or when the user asked to stop (core/interrupt.h).
void report_progress(const LayerProgress& progress, int64_t done, int64_t total);

/// Those entries of a file's metadata that stay true when its factors become others: ss_* and modelspec.*, without
/// ranks, alphas and hashes.
std::map<std::string, std::string> lasting_metadata(const LoraFile& file);

}  // namespace lorikeet
