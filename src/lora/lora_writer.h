// Writing LoRA files in the dialects that others read.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "lora/lora_file.h"

namespace lorikeet {

struct LoraWriteOptions {
  LoraDialect dialect = LoraDialect::kDiffusers;  // kDiffusers, kPeft or kKohya
  torch::ScalarType dtype = torch::kFloat;        // of the factors: float32, float16, bfloat16
  /// Beside what the dialect itself writes; what describes another file's tensors (lora_adapter_metadata, hashes,
  /// cloneofsimo's ranks) is left out, so that a read file's metadata can be passed on.
  std::map<std::string, std::string> metadata = {};
};

/// What other programs expect a LoRA of these kinds in: kohya's for LoHa, LoKr and differences, which the others cannot
/// hold; Diffusers' for all else.
LoraDialect natural_dialect(const LoraFile& file);

/// Writes `file` atomically; reading it back gives the same change of every weight. The same LoRA gives the same bytes.
///   kDiffusers: unet.PATH.lora.down.weight, text_encoder.PATH.lora_linear_layer.down.weight. It has no place for a
///     strength, which is multiplied into `up`. A file with DoRA or biases goes into PEFT's dialect, which Diffusers
///     reads as well.
///   kPeft: unet.PATH.lora_A.weight with lora_adapter_metadata (ranks, alphas, DoRA). Its readers put the user's scale
///     inside DoRA's lengths, kohya's do not (LayerChange::scales_inside): at scale 1 they agree.
///   kKohya: lora_unet_PATH.lora_down.weight and .alpha, LyCORIS' names for other kinds; ss_*, sshs_* and modelspec.*.
///     Words of textual inversion are bundled as A1111 reads them, bundle_emb.WORD.string_to_param.*; Diffusers refuses
///     a file with them. The other dialects cannot hold words: they are left out, and telling so is the caller's.
/// Throws FormatError when the dialect cannot hold a change, naming the layer, with the hint to resize or choose kohya
/// (Diffusers and PEFT have no LoHa, LoKr, full or norm differences, no DoRA per input, none in some layers of a model
/// only, and none with biases; Tucker's middle factor goes into `down`), and when a factor is too large for `dtype` or
/// not finite.
void write_lora_file(const std::filesystem::path& path, const LoraFile& file, const LoraWriteOptions& options = {});

}  // namespace lorikeet
