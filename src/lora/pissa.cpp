#include "lora/pissa.h"

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

/// The weight that `factors` stand for, computed in float32 whatever autocast or the factors say.
torch::Tensor product_of(const LoraAdapter& adapter, const std::map<std::string, torch::Tensor>& factors,
                         at::IntArrayRef shape) {
  LayerChange change = adapter.values;
  change.factors = factors;
  for (auto& [role, factor] : change.factors) factor = factor.detach().to(torch::kFloat);
  return weight_product(change, shape);
}

void add_to_weight(AdaptableLayer& layer, const torch::Tensor& change) {
  layer.weight.set_data((layer.weight.detach().to(torch::kFloat) + change).to(layer.weight.scalar_type()));
}

}  // namespace

void take_out(AdaptableLayer& layer, LoraAdapter& adapter) {
  torch::NoGradGuard no_grad;
  for (const auto& [role, factor] : adapter.values.factors) adapter.taken_out[role] = factor.detach().clone();
  add_to_weight(layer, -product_of(adapter, adapter.taken_out, layer.weight.sizes()));
}

void replace_taken_out(AdaptableLayer& layer, LoraAdapter& adapter,
                       const std::map<std::string, torch::Tensor>& factors) {
  torch::NoGradGuard no_grad;
  bool same = true;
  for (const auto& [role, factor] : adapter.taken_out) {
    const auto& other = factors.at(role);
    if (other.sizes() != factor.sizes() || other.scalar_type() != factor.scalar_type()) {
      throw FormatError(lorikeet::str("what was taken out of ", adapter.values.path, " has ", role, " ", other.sizes(),
                                      ", expected ", factor.sizes()));
    }
    same = same && torch::equal(other.to(factor.device()), factor);
  }
  if (same) return;
  const auto shape = layer.weight.sizes();
  const auto before = product_of(adapter, adapter.taken_out, shape);
  for (auto& [role, factor] : adapter.taken_out) factor = factors.at(role).to(factor.device()).clone();
  add_to_weight(layer, before - product_of(adapter, adapter.taken_out, shape));
}

LayerChange change_of_base(const LoraAdapter& adapter) {
  torch::NoGradGuard no_grad;
  LayerChange change = adapter.values;
  for (auto& [role, factor] : change.factors) factor = factor.detach();
  if (adapter.taken_out.empty()) return change;
  change.factors["down"] = torch::cat({change.get("down"), adapter.taken_out.at("down")}, 0);
  change.factors["up"] = torch::cat({change.get("up"), -adapter.taken_out.at("up")}, 1);
  return change;
}

}  // namespace lorikeet
