// `lorikeet lora ...`: the workbench for LoRA files.
#pragma once

#include <optional>
#include <string>

#include "core/options.h"

namespace lorikeet {

/// lora inspect
struct LoraInspectOptions {
  std::string file;
  std::optional<std::string> pretrained_model_name_or_path, single_file_config, revision, variant;
  bool layers = false;
  bool json = false;
};
OptionList fields(LoraInspectOptions& options);
void lora_inspect(const LoraInspectOptions& options);

/// lora convert
struct LoraConvertOptions {
  std::string in, out;
  std::string to = "diffusers";
  std::string dtype = "fp32";
  bool strict = false;
};
OptionList fields(LoraConvertOptions& options);
void lora_convert(const LoraConvertOptions& options);

/// lora merge
struct LoraMergeOptions {
  TextList files;
  std::string output;
  std::string method = "concat";
  std::optional<int64_t> rank;
  std::optional<double> keep_energy;
  std::string to = "diffusers";
  std::string dtype = "fp32";
  bool strict = false;
};
OptionList fields(LoraMergeOptions& options);
void lora_merge(const LoraMergeOptions& options);

/// lora resize
struct LoraResizeOptions {
  std::string file;
  std::string output;
  std::optional<int64_t> rank;
  std::optional<double> keep_energy;
  std::string to = "diffusers";
  std::string dtype = "fp32";
  bool strict = false;
};
OptionList fields(LoraResizeOptions& options);
void lora_resize(const LoraResizeOptions& options);

/// lora diff
struct LoraDiffOptions {
  std::string a, b;
  bool layers = false;
  bool json = false;
};
OptionList fields(LoraDiffOptions& options);
void lora_diff(const LoraDiffOptions& options);

/// lora extract
struct LoraExtractOptions {
  std::string tuned, base;
  std::optional<std::string> variant;
  std::string output;
  int64_t rank = 32;
  std::optional<int64_t> conv_rank;
  bool skip_text_encoder = false;
  double min_difference = 0;
  bool keep_other = false;
  std::string to = "diffusers";
  std::string dtype = "fp32";
};
OptionList fields(LoraExtractOptions& options);
void lora_extract(const LoraExtractOptions& options);

/// lora fuse
struct LoraFuseOptions {
  std::string pretrained_model_name_or_path;
  std::optional<std::string> single_file_config, revision, variant;
  TextList lora;
  double scale = 1;
  std::optional<TextList> lora_block_weights;
  bool strict = false;
  std::string output;
};
OptionList fields(LoraFuseOptions& options);
void lora_fuse(const LoraFuseOptions& options);

}  // namespace lorikeet
