#include "lora/formats/kohya_keys.h"

#include <array>

#include "lora/formats/diffusers_keys.h"
#include "lora/formats/factor_names.h"
#include "lora/layer_names.h"

namespace lorikeet {
namespace {

struct ModelPrefix {
  std::string_view text;
  std::optional<LoraComponent> component;  // nothing: the path tells
};
constexpr std::array kPrefixes = {
    ModelPrefix{"lora_unet_", LoraComponent::kUnet},
    ModelPrefix{"lora_te_", LoraComponent::kTextEncoder},
    ModelPrefix{"lora_te1_", LoraComponent::kTextEncoder},
    ModelPrefix{"lora_te2_", LoraComponent::kTextEncoder2},
    ModelPrefix{"lycoris_unet_", LoraComponent::kUnet},
    ModelPrefix{"lycoris_te_", LoraComponent::kTextEncoder},
    ModelPrefix{"lycoris_te1_", LoraComponent::kTextEncoder},
    ModelPrefix{"lycoris_te2_", LoraComponent::kTextEncoder2},
    ModelPrefix{"lycoris_", std::nullopt},
};

const ModelPrefix* find_prefix(std::string_view key) {
  for (const auto& prefix : kPrefixes) {
    if (key.starts_with(prefix.text)) return &prefix;
  }
  return nullptr;
}

}  // namespace

bool is_kohya_key(std::string_view key) { return find_prefix(key) != nullptr; }

KeyReading read_kohya_key(std::string_view key) {
  const ModelPrefix* prefix = find_prefix(key);
  auto split = split_factor(key);
  if (prefix == nullptr || !split) return {std::nullopt, std::string(unknown_factor_reason(key))};
  if (split->layer.size() <= prefix->text.size()) return {std::nullopt, "it names no layer"};
  auto path = dotted_path(split->layer.substr(prefix->text.size()));
  if (!path) return {std::nullopt, "no layer of Stable Diffusion's is called so"};
  split->factor.dialect = LoraDialect::kKohya;
  const bool is_text = path->starts_with("text_model.") || path->starts_with("encoder.");
  const auto component = prefix->component.value_or(is_text ? LoraComponent::kTextEncoder : LoraComponent::kUnet);
  return place_layer(component, std::move(*path), split->factor);
}

}  // namespace lorikeet
