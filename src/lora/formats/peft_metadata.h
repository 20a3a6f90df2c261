// The settings that Diffusers and PEFT write beside the factors: lora_adapter_metadata, adapter_config.json.
#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "lora/formats/layer_key.h"

namespace lorikeet {

/// Reads what the strength needs: lora_alpha, alpha_pattern and use_rslora, of each model; ranks are the factors' own.
class PeftMetadata {
 public:
  /// Without any, every strength is 1. Throws FormatError when the metadata is no JSON object or longer than 1 MiB, has
  /// an alpha that is no finite float32, or a pattern of names that is a regular expression.
  PeftMetadata(const std::map<std::string, std::string>& metadata, const std::filesystem::path& path);

  /// alpha / rank, with rsLoRA alpha / sqrt(rank), arXiv 2312.03732.
  double strength(LoraComponent component, std::string_view path, int64_t rank) const;

 private:
  struct Settings {
    std::optional<double> alpha;
    bool rank_stabilized = false;
    /// By the end of a layer's path, or ^ and the whole path; in PEFT's order, of which the first that fits counts.
    struct Pattern {
      size_t order;
      double alpha;
    };
    std::unordered_map<std::string, Pattern> patterns;
  };
  class Reader;
  std::array<Settings, kLoraComponents> settings_;
};

}  // namespace lorikeet
