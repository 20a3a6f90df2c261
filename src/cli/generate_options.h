// The options of `lorikeet generate`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/options.h"

namespace lorikeet {

/// Each member is the flag of the same name; `fields` holds what it means and which values it may take.
struct GenerateOptions {
  // Model
  std::string pretrained_model_name_or_path;
  std::optional<std::string> single_file_config;
  std::optional<std::string> revision;
  std::optional<std::string> variant;

  // LoRA
  std::optional<TextList> lora;
  std::string scale = "1";
  std::optional<TextList> lora_block_weights;
  std::optional<TextList> textual_inversion;
  bool strict = false;

  // Picture
  TextList prompt;
  TextList negative_prompt;
  std::optional<int64_t> height;
  std::optional<int64_t> width;
  int64_t num_images_per_prompt = 1;
  std::optional<int64_t> seed;

  // Sampling
  int64_t num_inference_steps = 50;
  double guidance_scale = 7.5;
  double guidance_rescale = 0.0;
  std::optional<std::string> scheduler;
  double eta = 0.0;

  // Machine
  std::string device = "auto";
  std::string dtype = "fp32";
  bool vae_tiling = false;
  bool vae_slicing = false;

  // Output
  std::string output = "output.png";
  bool grid = false;
  std::optional<std::string> config;
};

OptionList fields(GenerateOptions& options);

/// Checks every option by itself and with the others, without looking at files or devices. Throws UsageError.
void validate(const GenerateOptions& options);

/// The numbers of `--scale`, in their order. Throws UsageError for what is no number.
std::vector<double> scales(const GenerateOptions& options);

/// The files of a call, in the order of its pictures (scale by scale, then prompt by prompt): `output` itself for one
/// picture or a grid, else its name with -0, -1 ... before the extension, with -scale0.5 before it for several scales.
std::vector<std::string> output_names(const GenerateOptions& options);

}  // namespace lorikeet
