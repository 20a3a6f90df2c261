#include "lora/formats/diffusers_keys.h"

#include <array>

#include "lora/formats/factor_names.h"
#include "lora/layer_names.h"

namespace lorikeet {
namespace {

struct ModelPrefix {
  std::string_view text;
  LoraComponent component;
};
constexpr std::array kModelPrefixes = {
    ModelPrefix{"unet.", LoraComponent::kUnet},
    ModelPrefix{"text_encoder.", LoraComponent::kTextEncoder},
    ModelPrefix{"text_encoder_2.", LoraComponent::kTextEncoder2},
    ModelPrefix{"diffusion_model.", LoraComponent::kUnet},
    ModelPrefix{"model.diffusion_model.", LoraComponent::kUnet},
};

/// By which words a path without the model's name begins.
constexpr std::array kModelBeginnings = {
    ModelPrefix{"down_blocks.", LoraComponent::kUnet},
    ModelPrefix{"up_blocks.", LoraComponent::kUnet},
    ModelPrefix{"mid_block.", LoraComponent::kUnet},
    ModelPrefix{"conv_in", LoraComponent::kUnet},
    ModelPrefix{"conv_out", LoraComponent::kUnet},
    ModelPrefix{"conv_norm_out", LoraComponent::kUnet},
    ModelPrefix{"time_embedding.", LoraComponent::kUnet},
    ModelPrefix{"add_embedding.", LoraComponent::kUnet},
    ModelPrefix{"text_model.", LoraComponent::kTextEncoder},
    ModelPrefix{"encoder.layers.", LoraComponent::kTextEncoder},
    ModelPrefix{"text_projection", LoraComponent::kTextEncoder2},
};

std::optional<LoraComponent> find_component(std::string_view& path) {
  for (const auto& [text, component] : kModelPrefixes) {
    if (!path.starts_with(text)) continue;
    path.remove_prefix(text.size());
    return component;
  }
  for (const auto& [text, component] : kModelBeginnings) {
    if (path.starts_with(text)) return component;
  }
  if (is_original_path(path)) return LoraComponent::kUnet;
  return std::nullopt;
}

void replace_last_word(std::string& path, std::string_view word, std::string_view by) {
  if (!path.ends_with(word)) return;
  const size_t begin = path.size() - word.size();
  if (begin > 0 && path[begin - 1] != '.') return;
  path.replace(begin, word.size(), by);
}

/// Adapters were once processors beside the attention's layers, with names of their own.
void undo_processor_names(std::string& path, LoraComponent component) {
  const std::string_view processor = ".processor";
  const size_t found = path.find(std::string(processor) + ".");
  if (found != std::string::npos) path.erase(found, processor.size());
  if (component == LoraComponent::kUnet) {
    replace_last_word(path, "to_out", "to_out.0");
  } else {
    replace_last_word(path, "to_q", "q_proj");
    replace_last_word(path, "to_k", "k_proj");
    replace_last_word(path, "to_v", "v_proj");
    replace_last_word(path, "to_out", "out_proj");
  }
}

}  // namespace

KeyReading place_layer(LoraComponent component, std::string path, const FactorName& factor) {
  LayerKey layer{component, std::move(path), factor};
  if (component == LoraComponent::kUnet) {
    layer.is_original = is_original_path(layer.path);
    if (layer.is_original) {
      auto renamed = diffusers_path(layer.path);
      if (!renamed) return {std::nullopt, "the UNet has no layer of this name"};
      layer.path = std::move(*renamed);
    }
  } else if (!layer.path.starts_with("text_model.") && layer.path != "text_projection") {
    layer.path = "text_model." + layer.path;
  }
  return {std::move(layer), ""};
}

KeyReading read_diffusers_key(std::string_view key) {
  const auto split = split_factor(key);
  if (!split) return {std::nullopt, std::string(unknown_factor_reason(key))};
  std::string_view rest = split->layer;
  constexpr std::string_view kPeftRoot = "base_model.model.";
  if (rest.starts_with(kPeftRoot)) rest.remove_prefix(kPeftRoot.size());
  const auto component = find_component(rest);
  if (!component || rest.empty()) return {std::nullopt, "it belongs to no model of Stable Diffusion's"};
  std::string path(rest);
  if (split->factor.dialect == LoraDialect::kOldDiffusers || path.find(".processor.") != std::string::npos) {
    undo_processor_names(path, *component);
  }
  return place_layer(*component, std::move(path), split->factor);
}

}  // namespace lorikeet
