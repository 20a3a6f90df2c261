// Writing LoRA files in the dialects that others read.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "lora/lora_file.h"

namespace lorikeet {

struct LoraWriteOptions {
  LoraDialect dialect = LoraDialect::kDiffusers;    // kDiffusers, kPeft or kKohya
  torch::ScalarType dtype = torch::kFloat;          // of the factors: float32, float16, bfloat16
  std::map<std::string, std::string> metadata = {};  // beside what the dialect itself writes
};

/// Writes `file` atomically; reading it back gives the same change of every weight.
///   kDiffusers: unet.PATH.lora.down.weight, text_encoder.PATH.lora_linear_layer.down.weight. It has no place for a
///     strength, which is multiplied into `up`. DoRA goes into PEFT's dialect, which Diffusers reads as well.
///   kPeft: unet.PATH.lora_A.weight with lora_adapter_metadata (ranks, alphas, DoRA).
///   kKohya: lora_unet_PATH.lora_down.weight and .alpha, LyCORIS' names for other kinds; ss_*, sshs_* and modelspec.*.
/// Throws FormatError when the dialect cannot hold a change (Diffusers and PEFT have no LoHa, LoKr, full or norm
/// differences, nor per-input DoRA), naming the layer, with the hint to resize or choose kohya.
void write_lora_file(const std::filesystem::path& path, const LoraFile& file, const LoraWriteOptions& options = {});

}  // namespace lorikeet
