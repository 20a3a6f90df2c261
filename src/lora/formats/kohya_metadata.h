// What other programs read in the metadata of kohya's LoRA files.
// Sources: train_network.py and sai_model_spec.py of sd-scripts; https://github.com/Stability-AI/ModelSpec 1.0.0.
#pragma once

#include <map>
#include <string>

#include "io/safetensors.h"
#include "lora/lora_file.h"

namespace lorikeet {

/// Of a file with_kohya_strengths: `given`, with ss_network_* and modelspec.architecture as the layers say, and the
/// rest where `given` lacks it: the base model's version by the width of the text that attention reads (Stable
/// Diffusion 1 unless it is another's), and `title`. A date is not invented: the same LoRA gives the same bytes.
std::map<std::string, std::string> kohya_metadata(const LoraFile& file, const std::string& title,
                                                  std::map<std::string, std::string> given);

/// Adds the hashes that A1111 knows a LoRA by, and modelspec.hash_sha256: the SHA-256 of the tensors' bytes as they lie
/// in the file; and, of the file with its ss_ metadata alone, eight digits of that of 64 KiB at 1 MiB.
void add_kohya_hashes(const NamedTensors& tensors, std::map<std::string, std::string>& metadata);

}  // namespace lorikeet
