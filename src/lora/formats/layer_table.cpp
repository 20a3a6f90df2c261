#include "lora/formats/layer_table.h"

#include <algorithm>

namespace lorikeet {
namespace {

constexpr int64_t kSdxlTextWidth = 2048;  // of the text that cross-attention reads
constexpr int64_t kSd1TextWidth = 768, kSd2TextWidth = 1024;

bool reads_text(const std::string& path) { return path.ends_with(".attn2.to_k") || path.ends_with(".attn2.to_v"); }

/// SDXL has an embedding of sizes, and several transformer blocks in a row.
bool is_sdxl_layer(const LayerChange& change) {
  const std::string& path = change.path;
  if (path.starts_with("add_embedding.")) return true;
  constexpr std::string_view kBlocks = ".transformer_blocks.";
  const size_t found = path.find(kBlocks);
  if (found != std::string::npos && !path.substr(found + kBlocks.size()).starts_with("0.")) return true;
  return reads_text(path) && change_inputs(change) == kSdxlTextWidth;
}

/// SDXL has three blocks down and up, and no attention in the first and last.
bool is_no_sdxl_layer(const LayerChange& change) {
  const std::string& path = change.path;
  constexpr std::string_view kOnlyElsewhere[] = {"down_blocks.3.", "up_blocks.3.", "down_blocks.0.attentions."};
  if (std::any_of(std::begin(kOnlyElsewhere), std::end(kOnlyElsewhere),
                  [&](std::string_view begin) { return path.starts_with(begin); })) {
    return true;
  }
  const int64_t inputs = reads_text(path) ? change_inputs(change) : 0;
  return inputs == kSd1TextWidth || inputs == kSd2TextWidth;
}

}  // namespace

void LayerTable::add(const LayerKey& layer, const std::string& key, const torch::Tensor& tensor) {
  auto& component = components_[static_cast<size_t>(layer.component)];
  auto& layers = layer.is_original ? component.original : component.diffusers;
  layers[layer.path].add(key, layer.factor, tensor, reader_);
}

bool LayerTable::is_empty() const {
  return std::all_of(components_.begin(), components_.end(), [](const Component& component) {
    return component.diffusers.empty() && component.original.empty();
  });
}

std::vector<LayerChange> LayerTable::finish(LoraComponent component, const PeftMetadata& metadata, LoraFile& file,
                                            std::map<LoraDialect, size_t>& dialects) const {
  const auto& [diffusers, original] = components_[static_cast<size_t>(component)];
  const auto leave_out = [&](const LayerParts& layer, const char* reason) {
    for (const auto& [role, part] : layer.parts) file.unused.push_back({part.key, reason});
  };
  std::vector<LayerChange> changes;
  const auto take = [&](const std::string& path, const LayerParts& layer) {
    if (layer.is_empty()) return leave_out(layer, "its layer has no factors");
    ++dialects[layer.dialect];
    const auto rule = [&](int64_t rank) { return metadata.strength(component, path, rank); };
    changes.push_back(assemble_layer(path, layer, rule, reader_));
  };
  for (const auto& [path, layer] : diffusers) take(path, layer);
  for (const auto& [path, layer] : original) {
    if (diffusers.contains(path)) {
      leave_out(layer, "the layer is there under its name in Diffusers as well");
    } else {
      take(path, layer);
    }
  }
  std::sort(changes.begin(), changes.end(),
            [](const LayerChange& left, const LayerChange& right) { return left.path < right.path; });
  return changes;
}

void LayerTable::finish(const PeftMetadata& metadata, LoraFile& file) const {
  std::map<LoraDialect, size_t> dialects;
  file.unet = finish(LoraComponent::kUnet, metadata, file, dialects);
  file.text_encoder = finish(LoraComponent::kTextEncoder, metadata, file, dialects);
  file.text_encoder_2 = finish(LoraComponent::kTextEncoder2, metadata, file, dialects);
  const auto most = std::max_element(dialects.begin(), dialects.end(),
                                     [](const auto& left, const auto& right) { return left.second < right.second; });
  if (most != dialects.end()) file.dialect = most->first;

  const bool has_original_names = !components_[static_cast<size_t>(LoraComponent::kUnet)].original.empty();
  const auto any = [&](auto&& is) { return std::any_of(file.unet.begin(), file.unet.end(), is); };
  file.is_sdxl |= !file.text_encoder_2.empty() || any(is_sdxl_layer) || (has_original_names && !any(is_no_sdxl_layer));
}

}  // namespace lorikeet
