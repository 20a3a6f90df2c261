#include "lora/formats/dialect_tensors.h"

#include "core/errors.h"
#include "core/text.h"
#include "lora/lora_parts.h"

namespace lorikeet {
namespace {

/// The factor that a strength goes into: the product is linear in each.
const char* scaled_role(const LayerChange& change) {
  const char* const roles[] = {"up", "diff", "w1", "w1_a"};
  for (const char* role : roles) {
    if (change.has(role)) return role;
  }
  return nullptr;
}

/// down' [m, in, k, k] of mid [m, n, k, k] and down [n, in].
torch::Tensor without_mid(const torch::Tensor& mid, const torch::Tensor& down) {
  return torch::einsum("mnkl,nj->mjkl", {mid.to(torch::kFloat), down.to(torch::kFloat).flatten(1)});
}

}  // namespace

std::vector<ModelLayers> model_layers(const LoraFile& file) {
  std::vector<ModelLayers> models;
  for (const auto& [name, layers] : kLoraParts) {
    if (!(file.*layers).empty()) models.push_back({name, &(file.*layers)});
  }
  return models;
}

LayerChange with_unit_strength(const LayerChange& change) {
  LayerChange result = change;
  const char* role = scaled_role(change);
  if (change.strength != 1 && role != nullptr)
    result.factors[role] = change.get(role).to(torch::kFloat) * change.strength;
  result.strength = 1;
  return result;
}

LayerChange as_plain_lora(const LayerChange& change, const std::string& model, LoraDialect dialect) {
  if (change.kind != ChangeKind::kLora) {
    throw FormatError(lorikeet::str(model, ".", change.path, " is changed by ", kind_name(change.kind), ", which ",
                                    dialect_name(dialect), " files cannot hold; plain LoRA expected"),
                      "write kohya's dialect, or make plain LoRA of it first with `lorikeet lora resize`");
  }
  LayerChange plain = change;
  if (change.has("mid")) {
    plain.factors["down"] = without_mid(change.get("mid"), change.get("down"));
    plain.factors.erase("mid");
  }
  auto& up = plain.factors["up"];
  up = up.flatten(1);
  if (plain.factors["down"].dim() == 4) up = up.unsqueeze(-1).unsqueeze(-1);
  return plain;
}

bool fits_diffusers_dialect(const LoraFile& file) {
  for (const auto& model : model_layers(file)) {
    for (const auto& change : *model.layers) {
      if (change.kind == ChangeKind::kLora && (change.is_dora() || change.has("bias"))) return false;
    }
  }
  return true;
}

NamedTensors diffusers_tensors(const LoraFile& file) {
  NamedTensors tensors;
  for (const auto& [model, layers] : model_layers(file)) {
    const char* infix = model == "unet" ? ".lora" : ".lora_linear_layer";
    for (const auto& change : *layers) {
      const auto plain = with_unit_strength(as_plain_lora(change, model, LoraDialect::kDiffusers));
      const auto name = model + "." + change.path + infix;
      tensors.emplace_back(name + ".down.weight", plain.get("down"));
      tensors.emplace_back(name + ".up.weight", plain.get("up"));
    }
  }
  return tensors;
}

}  // namespace lorikeet
