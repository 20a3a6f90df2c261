#include "lora/fuse.h"

namespace lorikeet {
namespace {

void set_slot(torch::nn::Module& module, const torch::Tensor& weight, const std::shared_ptr<LoraAdapter>& adapter) {
  if (auto* linear = module.as<AdaptableLinear>()) {
    if (weight.defined()) linear->weight.set_data(weight);
    linear->adapter = adapter;
  } else if (auto* conv = module.as<AdaptableConv2d>()) {
    if (weight.defined()) conv->weight.set_data(weight);
    conv->adapter = adapter;
  }
}

}  // namespace

FusedWeights fuse_lora(torch::nn::Module& model, const LoraLayers& layers) {
  torch::NoGradGuard no_grad;
  FusedWeights originals;
  const auto modules = model.named_modules(std::string(), /*include_self=*/false);
  for (const auto& [path, adapter] : layers) {
    torch::nn::Module& module = *modules[path];
    torch::Tensor fused;
    if (adapter->strength() != 0) {
      const auto weight = module.named_parameters(/*recurse=*/false)["weight"];
      originals.emplace(path, weight.detach());
      fused = (weight.to(torch::kFloat) + adapter->delta()).to(weight.scalar_type());
    }
    set_slot(module, fused, nullptr);
  }
  return originals;
}

void unfuse_lora(torch::nn::Module& model, const LoraLayers& layers, const FusedWeights& originals) {
  const auto modules = model.named_modules(std::string(), /*include_self=*/false);
  for (const auto& [path, adapter] : layers) {
    const auto original = originals.find(path);
    set_slot(*modules[path], original == originals.end() ? torch::Tensor() : original->second, adapter);
  }
}

}  // namespace lorikeet
