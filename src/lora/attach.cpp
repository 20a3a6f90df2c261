#include "lora/attach.h"

#include <algorithm>

#include "core/errors.h"
#include "core/text.h"
#include "lora/pissa.h"

namespace lorikeet {
namespace {

/// A linear layer's lengths as a 1x1 convolution's, or the other way round; anything else as it is.
torch::Tensor with_dims(const torch::Tensor& lengths, int64_t dims) {
  if (dims == 4 && lengths.dim() == 2) return lengths.unsqueeze(-1).unsqueeze(-1);
  if (dims == 2 && lengths.dim() == 4 && lengths.size(2) == 1 && lengths.size(3) == 1) return lengths.flatten(1);
  return lengths;
}

/// Both halves of a LoRA that fits the weight in as many dimensions as it; a flattened kernel is spread out.
void shape_halves(LayerChange& change, const torch::Tensor& weight) {
  auto &up = change.factors.at("up"), &down = change.factors.at("down");
  std::vector<int64_t> inner(static_cast<size_t>(weight.dim() - 2), 1);
  const auto halves = [&](const torch::Tensor& half, int64_t inputs) {
    std::vector<int64_t> sizes{half.size(0), inputs};
    sizes.insert(sizes.end(), inner.begin(), inner.end());
    return half.reshape(sizes);
  };
  up = halves(up, up.numel() / up.size(0));
  if (!change.has("mid")) inner.assign(weight.sizes().begin() + 2, weight.sizes().end());
  down = halves(down, weight.size(1));
}

}  // namespace

AdaptableLayers::AdaptableLayers(torch::nn::Module& model) {
  for (const auto& item : model.named_modules(std::string(), /*include_self=*/false)) {
    auto* layer = item.value()->as<AdaptableLayer>();
    if (layer == nullptr) continue;
    layers_.emplace_back(item.key(), layer);
    by_path_.emplace(item.key(), layer);
  }
}

AdaptableLayer* AdaptableLayers::find(const std::string& path) const {
  const auto found = by_path_.find(path);
  return found == by_path_.end() ? nullptr : found->second;
}

BlockOrder block_order(torch::nn::Module& unet, torch::nn::Module& text_encoder) {
  constexpr std::string_view kFirst = ".attn1.to_q", kTextFirst = ".self_attn.k_proj";
  BlockOrder order{{}, 0};
  const AdaptableLayers layers(unet), text_layers(text_encoder);
  for (const char* side : {"down_blocks.", "up_blocks.", "mid_block."}) {
    for (const auto& [path, layer] : layers.all()) {
      if (!path.starts_with(side) || !path.ends_with(kFirst)) continue;
      order.transformer_blocks.push_back(path.substr(0, path.size() - kFirst.size()));
    }
  }
  for (const auto& [path, layer] : text_layers.all()) order.text_layers += path.ends_with(kTextFirst);
  return order;
}

LayerChange fit_change(const LayerChange& change, const torch::Tensor& weight, const torch::Tensor& bias) {
  LayerChange fitted = change;
  for (auto& [role, factor] : fitted.factors) {
    if (role == "magnitude") factor = with_dims(factor, weight.dim());
    if (role == "bias") factor = factor.flatten();
  }
  check_fits(fitted, weight, bias);
  if (change.kind == ChangeKind::kLora) shape_halves(fitted, weight);
  return fitted;
}

LoraLayers attach_lora(torch::nn::Module& model, const std::vector<LayerChange>& changes, torch::ScalarType dtype,
                       std::vector<UnmatchedChange>& unmatched) {
  torch::NoGradGuard no_grad;
  const AdaptableLayers layers(model);
  LoraLayers attached;
  for (const auto& change : changes) {
    auto* layer = layers.find(change.path);
    if (layer == nullptr) {
      unmatched.push_back({change.path, "no such layer in this model"});
      continue;
    }
    auto adapter = std::make_shared<LoraAdapter>();
    try {
      adapter->values = fit_change(change, layer->weight, layer->bias);
    } catch (const FormatError& error) {
      unmatched.push_back({change.path, error.what()});
      continue;
    }
    for (auto& [role, factor] : adapter->values.factors) {
      factor = factor.to(layer->weight.device(), dtype).contiguous();
    }
    layer->adapters.push_back(adapter);
    attached.emplace_back(change.path, adapter);
  }
  return attached;
}

void detach_lora(torch::nn::Module& model, const LoraLayers& layers) {
  const AdaptableLayers slots(model);
  for (const auto& [path, adapter] : layers) {
    auto& adapters = slots.find(path)->adapters;
    adapters.erase(std::remove(adapters.begin(), adapters.end(), adapter), adapters.end());
  }
}

std::vector<LayerChange> layer_changes(const LoraLayers& layers) {
  std::vector<LayerChange> changes;
  for (const auto& [path, adapter] : layers) {
    auto change = change_of_base(*adapter);
    change.path = path;
    changes.push_back(std::move(change));
  }
  return changes;
}

void set_lora_scale(const LoraLayers& layers, double scale) {
  for (const auto& [path, adapter] : layers) adapter->scale = scale;
}

}  // namespace lorikeet
