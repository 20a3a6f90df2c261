// LoRA files of every dialect, read into one form.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "lora/layer_change.h"

namespace lorikeet {

inline constexpr const char* kLoraFileName = "pytorch_lora_weights.safetensors";

enum class LoraDialect { kDiffusers, kPeft, kOldDiffusers, kKohya, kCloneofsimo, kTextualInversion };
/// "diffusers", "peft", "old diffusers", "kohya", "cloneofsimo", "textual inversion".
const char* dialect_name(LoraDialect dialect);

/// A word of textual inversion: several vectors stand for one word.
struct LearnedWord {
  std::string word;       // "<s1>"
  torch::Tensor vectors;  // float32 [n, width of the text encoder]
};

/// A key whose tensor is not used, and why.
struct UnusedKey {
  std::string key, reason;
};

/// A LoRA file's contents, by the model they belong to; layers in the order of their paths.
struct LoraFile {
  LoraDialect dialect = LoraDialect::kDiffusers;
  std::vector<LayerChange> unet, text_encoder;  // the text encoder's paths begin with text_model.
  std::vector<LayerChange> text_encoder_2;      // SDXL's
  bool is_sdxl = false;                         // names or shapes that only SDXL has
  std::vector<LearnedWord> words;
  std::vector<UnusedKey> unused;
  std::map<std::string, std::string> metadata;  // as in the file
};

/// The order in which cloneofsimo's order-only files list a model's transformer blocks: paths such as
/// down_blocks.0.attentions.0.transformer_blocks.0, down blocks first, then up, then mid; and the text encoder's
/// layers.
struct BlockOrder {
  std::vector<std::string> transformer_blocks;
  int64_t text_layers = 12;
};
/// Stable Diffusion 1.x and 2.x: 16 blocks.
BlockOrder stable_diffusion_blocks();

/// Reads `path`, or PATH/pytorch_lora_weights.safetensors (else .bin) when it is a folder. A .pt, .bin or .ckpt is read
/// as data only (io/torch_file.h); beside cloneofsimo's NAME.pt, NAME.text_encoder.pt and NAME.ti.pt are read too.
/// `order` matters for cloneofsimo's files only.
/// Throws FileError when there is none; FormatError naming the key when a layer lacks a factor, is there twice, has
/// shapes that go with no rule, or holds numbers that are not finite, or when nothing in the file is known.
LoraFile read_lora_file(const std::filesystem::path& path, const BlockOrder& order = stable_diffusion_blocks());

}  // namespace lorikeet
