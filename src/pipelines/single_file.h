// A whole Stable Diffusion 1.x or 2.x model in one file of the original layout (.safetensors or .ckpt).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "io/weights_file.h"
#include "pipelines/model_part.h"

namespace lorikeet {

/// Opening is cheap: tensors are read where they are used, once, from the file's mapping.
/// Source: StableDiffusionPipeline.from_single_file of Diffusers.
class SingleFile {
 public:
  /// Throws as open_weights_file, and FormatError for what is no such model (see check_is_stable_diffusion).
  static SingleFile open(const std::filesystem::path& path);
  /// The same of an opened file. Throws FormatError.
  explicit SingleFile(WeightsFile file);

  /// "unet", "vae" or "text_encoder" with `config`, or with one inferred from the tensors' shapes, as original_config.h
  /// says.
  ModelPart part(const std::string& name, const std::optional<nlohmann::json>& config) const;

  /// Stable Diffusion 2's, with OpenCLIP's text encoder.
  bool is_version_2() const { return open_clip_; }
  /// What the file's metadata says (modelspec.prediction_type); else epsilon for version 1, and for version 2
  /// v_prediction as Diffusers takes it, but epsilon at the 875,000 steps of Stable Diffusion 2's base model.
  std::string prediction_type() const;
  /// Whether it is only taken so, for the file does not tell.
  bool guesses_prediction_type() const;
  /// Of Stable Diffusion's own model folders.
  nlohmann::json scheduler_config() const;

 private:
  std::optional<std::string> told_prediction_type() const;

  std::shared_ptr<const WeightSource> weights_;
  std::map<std::string, std::string> metadata_;
  std::optional<int64_t> global_step_;
  bool open_clip_ = false;
};

}  // namespace lorikeet
