// Writes a model in the original layout: one .safetensors file that A1111, ComfyUI and others take as a checkpoint.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "io/weights.h"
#include "pipelines/components.h"

namespace lorikeet {

/// A model's tensors under Diffusers' names, older spellings included; they keep their dtypes.
struct SingleFileParts {
  const WeightSource& unet;
  const WeightSource& vae;
  const WeightSource& text_encoder;
  /// As Stable Diffusion 2's, see is_open_clip. OpenCLIP's last layer, which Diffusers does not load, stays out.
  bool open_clip = false;
};

/// Throws FormatError naming a tensor that has no place in the original layout, FileError when it cannot be written.
/// `metadata` is added to format=pt; see single_file_metadata.
void write_single_file(const std::filesystem::path& path, const SingleFileParts& parts,
                       const std::map<std::string, std::string>& metadata = {});

/// Whether a text encoder is OpenCLIP's, by its activation: Transformers' classes are the same.
bool is_open_clip(const CLIPTextConfig& config);
/// What a file should say of itself (modelspec.*): readers cannot see it in the tensors.
std::map<std::string, std::string> single_file_metadata(const nlohmann::json& scheduler_config, bool open_clip);

/// A module's parameters as a source, in its own dtype.
std::unique_ptr<WeightSource> weights_of(const torch::nn::Module& module, const std::string& description);

}  // namespace lorikeet
