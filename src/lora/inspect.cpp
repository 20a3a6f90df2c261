#include "lora/inspect.h"

#include "core/text.h"
#include "lora/change_matrix.h"
#include "lora/formats/layer_assembly.h"

namespace lorikeet {
namespace {

/// How wide the texts are that the layer takes, where it says so.
std::optional<int64_t> text_width(const std::string& part, const LayerChange& change) {
  const bool is_cross =
      change.path.find(".attn2.to_k") != std::string::npos || change.path.find(".attn2.to_v") != std::string::npos;
  const bool is_text = change.path.find(".self_attn.") != std::string::npos;
  if (part == "unet" ? !is_cross : !is_text) return std::nullopt;
  const int64_t width = change_inputs(change);
  return width == 0 ? std::nullopt : std::optional(width);
}

std::string family(const LoraFile& file) {
  if (file.is_sdxl) return "Stable Diffusion XL";
  std::optional<int64_t> width;
  for (const auto& part : kLoraParts) {
    for (const auto& change : file.*part.layers) {
      if (!width) width = text_width(part.name, change);
    }
  }
  if (!width && !file.words.empty()) width = file.words.front().vectors.size(1);
  if (!width) return "unknown";
  if (*width == 768) return "Stable Diffusion 1.x";
  if (*width == 1024) return "Stable Diffusion 2.x";
  return lorikeet::str("unknown (texts of width ", *width, ")");
}

LayerSummary summary(const char* part, const LayerChange& change) {
  LayerSummary layer;
  layer.part = part;
  layer.path = change.path;
  layer.kind = kind_name(change.kind);
  if (change.has("mid") || change.has("t1") || change.has("t2")) layer.kind += "+tucker";
  if (change.is_dora()) layer.kind += "+dora";
  if (change.has("bias")) layer.kind += "+bias";
  layer.rank = change_rank(change);
  layer.strength = change.strength;
  layer.norm = change_norm(change);
  return layer;
}

}  // namespace

LoraSummary inspect_lora(const LoraFile& file, const LayerProgress& progress) {
  LoraSummary result;
  result.base_family = family(file);
  int64_t total = 0, done = 0;
  for (const auto& part : kLoraParts) total += static_cast<int64_t>((file.*part.layers).size());
  for (const auto& part : kLoraParts) {
    for (const auto& change : file.*part.layers) {
      result.layers.push_back(summary(part.name, change));
      for (const auto& [role, factor] : change.factors) result.parameters += factor.numel();
      report_progress(progress, ++done, total);
    }
  }
  return result;
}

}  // namespace lorikeet
