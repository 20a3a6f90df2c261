#include "lora/formats/cloneofsimo.h"

#include <array>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

// As Diffusers of the winter of 2022 had them: feed-forward before the second attention.
constexpr std::array<const char*, 9> kInBlock = {"attn1.to_q",     "attn1.to_k",    "attn1.to_v",
                                                 "attn1.to_out.0", "ff.net.0.proj", "attn2.to_q",
                                                 "attn2.to_k",     "attn2.to_v",    "attn2.to_out.0"};
constexpr size_t kFeedForward = 4;
constexpr std::array<const char*, 4> kInTextLayer = {"k_proj", "v_proj", "q_proj", "out_proj"};

const char* component_name(LoraComponent component) {
  return component == LoraComponent::kUnet ? "unet" : "text_encoder";
}

std::vector<std::string> unet_paths(const BlockOrder& order, bool has_feed_forward) {
  std::vector<std::string> paths;
  for (const auto& block : order.transformer_blocks) {
    for (size_t i = 0; i < kInBlock.size(); ++i) {
      if (i != kFeedForward || has_feed_forward) paths.push_back(block + "." + kInBlock[i]);
    }
  }
  return paths;
}

std::vector<std::string> text_paths(const BlockOrder& order) {
  std::vector<std::string> paths;
  for (int64_t layer = 0; layer < order.text_layers; ++layer) {
    for (const char* name : kInTextLayer) {
      paths.push_back(lorikeet::str("text_model.encoder.layers.", layer, ".self_attn.", name));
    }
  }
  return paths;
}

/// The number in "12:up", with the half in `is_up`; nothing for anything else.
std::optional<size_t> pair_number(std::string_view rest, bool& is_up) {
  const size_t colon = rest.find(':');
  if (colon == 0 || colon == std::string_view::npos || colon > 6) return std::nullopt;
  size_t number = 0;
  for (const char digit : rest.substr(0, colon)) {
    if (digit < '0' || digit > '9') return std::nullopt;
    number = number * 10 + static_cast<size_t>(digit - '0');
  }
  const auto half = rest.substr(colon + 1);
  is_up = half == "up";
  if (!is_up && half != "down") return std::nullopt;
  return number;
}

}  // namespace

bool NumberedPairs::take(const std::string& key, const torch::Tensor& tensor, const FactorReader& reader) {
  for (const auto component : {LoraComponent::kUnet, LoraComponent::kTextEncoder}) {
    const std::string prefix = lorikeet::str(component_name(component), ":");
    if (!key.starts_with(prefix)) continue;
    bool is_up = false;
    const auto number = pair_number(std::string_view(key).substr(prefix.size()), is_up);
    if (!number) return false;
    auto& pair = pairs_[component][*number];
    auto& half = is_up ? pair.up : pair.down;
    if (half.tensor.defined()) reader.fail(key, "is there twice");
    half = {key, tensor};
    return true;
  }
  return false;
}

void NumberedPairs::take_list(LoraComponent component, const std::vector<torch::Tensor>& list,
                              const FactorReader& reader) {
  for (size_t i = 0; i < list.size(); ++i) {
    take(lorikeet::str(component_name(component), ":", i / 2, i % 2 == 0 ? ":up" : ":down"), list[i], reader);
  }
}

void NumberedPairs::place(const BlockOrder& order, LayerTable& table, const FactorReader& reader) const {
  for (const auto& [component, pairs] : pairs_) {
    const bool is_unet = component == LoraComponent::kUnet;
    const size_t with_feed_forward = order.transformer_blocks.size() * kInBlock.size();
    const auto paths = is_unet ? unet_paths(order, pairs.size() == with_feed_forward) : text_paths(order);
    const Half& first =
        pairs.begin()->second.up.tensor.defined() ? pairs.begin()->second.up : pairs.begin()->second.down;
    if (pairs.size() != paths.size()) {
      const std::string without =
          is_unet ? lorikeet::str(" or ", with_feed_forward - order.transformer_blocks.size()) : "";
      const size_t expected = is_unet ? with_feed_forward : paths.size();
      reader.fail(first.key,
                  lorikeet::str("is one of ", pairs.size(), " pairs without names; ", expected, without, " expected"),
                  "only attention and feed-forward layers of this base model can be told by their order");
    }
    size_t number = 0;
    for (const auto& [found, pair] : pairs) {
      const auto& there = pair.up.tensor.defined() ? pair.up : pair.down;
      if (found != number) reader.fail(there.key, lorikeet::str("follows on pair ", number, ", which is missing"));
      LayerKey layer{component, paths[number], {"up", ChangeKind::kLora, LoraDialect::kCloneofsimo}};
      if (pair.up.tensor.defined()) table.add(layer, pair.up.key, pair.up.tensor);
      layer.factor.role = "down";
      if (pair.down.tensor.defined()) table.add(layer, pair.down.key, pair.down.tensor);
      ++number;
    }
  }
}

}  // namespace lorikeet
