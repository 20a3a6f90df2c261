// LoRA files: Diffusers' final format (written), and PEFT's (read too).
//   Diffusers:  unet.PATH.lora.down.weight / .lora.up.weight
//               text_encoder.PATH.lora_linear_layer.down.weight / .up.weight
//   PEFT:       unet.PATH.lora_A.weight / .lora_B.weight, the same for text_encoder.
// PATH is the layer's dotted path in the model; the text encoder's starts with text_model. in files, and is read
// without it too (transformers 5 writes it so).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lora/inject.h"

namespace lorikeet {

inline constexpr const char* kLoraFileName = "pytorch_lora_weights.safetensors";

/// One layer's factors as a file has them.
struct LoraPair {
  std::string path;  // of the layer in its model; the text encoder's always with text_model.
  torch::Tensor down, up;
  double alpha = 0;  // the rank, unless the file's metadata says otherwise
};

/// A LoRA file's contents, by the model they belong to.
struct LoraFile {
  std::vector<LoraPair> unet, text_encoder;
};

/// Reads `path`, or PATH/pytorch_lora_weights.safetensors when it is a folder. Throws FileError when there is none, and
/// FormatError naming the key when one belongs to neither format, lacks its other half, or is not two- or
/// four-dimensional, and when the metadata says something that changes the numbers in a way not known here (DoRA).
LoraFile read_lora_file(const std::filesystem::path& path);

/// Writes Diffusers' final format, in float32, atomically. A strength alpha/rank other than 1 is multiplied into `up`,
/// since the format has no place for it: every reader then gets the same picture.
void write_lora_file(const std::filesystem::path& path, const LoraLayers& unet, const LoraLayers& text_encoder);

/// Puts the pairs into a model's slots; throws FormatError for a pair that fits no layer.
LoraLayers attach_lora_pairs(torch::nn::Module& model, const std::vector<LoraPair>& pairs);

}  // namespace lorikeet
