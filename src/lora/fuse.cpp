#include "lora/fuse.h"

namespace lorikeet {
namespace {

/// The sum in float32, in the base's own dtype; undefined when nothing changes it.
struct Sum {
  torch::Tensor base, total;

  void add(const torch::Tensor& change) {
    if (!total.defined()) total = base.to(torch::kFloat);
    total = total + change.to(torch::kFloat);
  }
  torch::Tensor result() const { return total.to(base.scalar_type()); }
};

}  // namespace

FusedLayers fuse_lora(torch::nn::Module& model) {
  torch::NoGradGuard no_grad;
  FusedLayers originals;
  const AdaptableLayers adaptable(model);
  for (const auto& [path, layer] : adaptable.all()) {
    if (layer->adapters.empty()) continue;
    Sum weight{layer->weight.detach(), {}}, bias{layer->bias.defined() ? layer->bias.detach() : torch::Tensor(), {}};
    for (const auto& adapter : layer->adapters) {
      const auto& lora = dynamic_cast<const LoraAdapter&>(*adapter);
      if (lora.scale == 0) continue;
      weight.add(weight_change(lora.values, weight.base, lora.scale));
      if (lora.values.has("bias")) bias.add(lora.values.get("bias") * lora.scale);
    }
    auto& original = originals[path];
    original.adapters.swap(layer->adapters);
    if (weight.total.defined()) {
      original.weight = weight.base;
      layer->weight.set_data(weight.result());
    }
    if (bias.total.defined()) {
      original.bias = bias.base;
      layer->bias.set_data(bias.result());
    }
  }
  return originals;
}

void unfuse_lora(torch::nn::Module& model, const FusedLayers& originals) {
  const AdaptableLayers layers(model);
  for (const auto& [path, original] : originals) {
    auto& layer = *layers.find(path);
    if (original.weight.defined()) layer.weight.set_data(original.weight);
    if (original.bias.defined()) layer.bias.set_data(original.bias);
    layer.adapters = original.adapters;
  }
}

}  // namespace lorikeet
