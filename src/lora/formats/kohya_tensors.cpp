#include <algorithm>
#include <map>
#include <optional>

#include "lora/formats/dialect_tensors.h"
#include "lora/layer_names.h"

namespace lorikeet {
namespace {

std::string kohya_prefix(const std::string& model, bool is_sdxl) {
  if (model == "unet") return "lora_unet_";
  if (model == "text_encoder_2") return "lora_te2_";
  return is_sdxl ? "lora_te1_" : "lora_te_";
}

/// What LyCORIS and kohya call the role; a norm's whole differences have names of their own.
std::string role_name(const LayerChange& change, const std::string& role) {
  const bool is_norm = change.has("diff") && change.get("diff").dim() == 1;
  if (role == "bias") return is_norm ? "b_norm" : "diff_b";
  if (role == "diff") return is_norm ? "w_norm" : "diff";
  if (role == "magnitude") return "dora_scale";
  switch (change.kind) {
    case ChangeKind::kLora:
      return "lora_" + role + ".weight";
    case ChangeKind::kLoha:
      return "hada_" + role;
    case ChangeKind::kLokr:
    case ChangeKind::kFull:
      break;
  }
  return "lokr_" + role;
}

/// A linear layer, or a 1x1 convolution: those that network_alpha is for. Others have conv_alpha.
bool has_network_alpha(const LayerChange& change) {
  if (change.kind != ChangeKind::kLora || change.has("mid")) return false;
  const auto down = change.get("down");
  return down.dim() == 2 || (down.size(2) == 1 && down.size(3) == 1);
}

double own_alpha(const LayerChange& change) { return change.strength * static_cast<double>(change_rank(change)); }

/// The alpha that most layers have, the least of several: of those that network_alpha is for.
std::optional<double> usual_alpha(const LoraFile& file) {
  std::map<double, int64_t> counts;
  for (const auto& model : model_layers(file)) {
    for (const auto& change : *model.layers) {
      if (has_network_alpha(change) && change.strength != 0) ++counts[own_alpha(change)];
    }
  }
  const auto usual = std::max_element(counts.begin(), counts.end(),
                                      [](const auto& left, const auto& right) { return left.second < right.second; });
  return usual == counts.end() ? std::nullopt : std::optional(usual->first);
}

void tell_by_alpha(LayerChange& change, std::optional<double> network_alpha) {
  if (change.strength == 0 || change_rank(change) == 0) change = with_unit_strength(change);
  if (!network_alpha || !has_network_alpha(change) || own_alpha(change) == *network_alpha) return;
  const double told = *network_alpha / static_cast<double>(change_rank(change));
  change.factors["up"] = change.get("up").to(torch::kFloat) * (change.strength / told);
  change.strength = told;
}

void append_change(NamedTensors& tensors, const std::string& name, const LayerChange& change) {
  for (const auto& [role, factor] : change.factors) tensors.emplace_back(name + "." + role_name(change, role), factor);
  if (change.kind == ChangeKind::kFull) return;
  // LoKr of two whole factors has no rank; its alpha is not used, but LyCORIS wants one.
  const double alpha = change_rank(change) > 0 ? own_alpha(change) : 1;
  tensors.emplace_back(name + ".alpha", torch::scalar_tensor(alpha, torch::kDouble));
}

}  // namespace

LoraFile with_kohya_strengths(const LoraFile& file) {
  LoraFile told = file;
  const auto network_alpha = usual_alpha(file);
  for (auto* layers : {&told.unet, &told.text_encoder, &told.text_encoder_2}) {
    for (auto& change : *layers) tell_by_alpha(change, network_alpha);
  }
  return told;
}

NamedTensors kohya_tensors(const LoraFile& file) {
  NamedTensors tensors;
  for (const auto& [model, layers] : model_layers(file)) {
    const auto prefix = kohya_prefix(model, file.is_sdxl || !file.text_encoder_2.empty());
    for (const auto& change : *layers) append_change(tensors, prefix + underscored_name(change.path), change);
  }
  for (const auto& [word, vectors] : file.words) {
    tensors.emplace_back("bundle_emb." + word + ".string_to_param.*", vectors);
  }
  return tensors;
}

}  // namespace lorikeet
