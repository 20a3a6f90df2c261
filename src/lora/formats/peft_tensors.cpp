#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "core/errors.h"
#include "core/text.h"
#include "lora/formats/dialect_tensors.h"

namespace lorikeet {
namespace {

/// PEFT's LoraConfig says these for a whole model.
struct Habits {
  bool dora = false, bias = false;
};

Habits habits_of(const ModelLayers& model) {
  Habits habits;
  for (const auto& change : *model.layers) {
    habits.dora = habits.dora || change.is_dora();
    habits.bias = habits.bias || change.has("bias");
  }
  return habits;
}

[[noreturn]] void refuse(const ModelLayers& model, const LayerChange& change, const std::string& what) {
  throw FormatError(lorikeet::str(model.name, ".", change.path, " ", what, ", which PEFT's files cannot hold"),
                    "write kohya's dialect");
}

/// [out] for a linear layer, [1, out, 1, 1] for a convolution: as DoraLinearLayer and DoraConv2dLayer register it.
torch::Tensor peft_magnitude(const ModelLayers& model, const LayerChange& change) {
  const auto magnitude = change.get("magnitude");
  const int64_t outputs = change.get("up").size(0);
  if (magnitude.numel() != outputs || magnitude.size(0) != outputs) {
    refuse(model, change, "sets the length of each input's weights (DoRA)");
  }
  return change.get("down").dim() == 4 ? magnitude.reshape({1, outputs, 1, 1}) : magnitude.reshape({outputs});
}

/// The layer as PEFT writes it, with a strength of any value but 0, which a bias could not be divided by.
LayerChange peft_layer(const ModelLayers& model, const LayerChange& change) {
  auto plain = as_plain_lora(change, model.name, LoraDialect::kPeft);
  return plain.strength == 0 ? with_unit_strength(plain) : plain;
}

void append_layer(NamedTensors& tensors, const ModelLayers& model, const Habits& habits, const LayerChange& change) {
  const auto plain = peft_layer(model, change);
  const auto name = model.name + "." + change.path;
  const auto up = plain.get("up");
  tensors.emplace_back(name + ".lora_A.weight", plain.get("down"));
  tensors.emplace_back(name + ".lora_B.weight", up);
  if (habits.dora) {
    if (!plain.is_dora()) refuse(model, change, "is without DoRA in a model that has it elsewhere");
    if (habits.bias) refuse(model, change, "belongs to a model with DoRA and biases");
    // PEFT writes it without .weight, which transformers' load_adapter does not find; PEFT itself reads both.
    const char* const end = model.name == "unet" ? ".lora_magnitude_vector" : ".lora_magnitude_vector.weight";
    tensors.emplace_back(name + end, peft_magnitude(model, plain));
  }
  if (habits.bias) {
    // PEFT multiplies it by alpha / rank, as it does the product.
    const auto bias = plain.has("bias") ? plain.get("bias") / plain.strength : torch::zeros({up.size(0)});
    tensors.emplace_back(name + ".lora_B.bias", bias.reshape({up.size(0)}));
  }
}

/// The value that most have; the least of them when several are as common.
template <class Value>
Value most_common(const std::map<std::string, Value>& by_path) {
  std::map<Value, int64_t> counts;
  for (const auto& [path, value] : by_path) ++counts[value];
  return std::max_element(counts.begin(), counts.end(),
                          [](const auto& left, const auto& right) { return left.second < right.second; })
      ->first;
}

/// Those that differ from `usual`, by path.
template <class Value>
nlohmann::json pattern(const std::map<std::string, Value>& by_path, Value usual) {
  nlohmann::json result = nlohmann::json::object();
  for (const auto& [path, value] : by_path) {
    if (value != usual) result[path] = value;
  }
  return result;
}

/// transformers 5 has no text_model. in its paths; without it the names mean the layers of older ones, too.
std::string config_path(const std::string& path) {
  constexpr std::string_view kOuter = "text_model.";
  return path.starts_with(kOuter) ? path.substr(kOuter.size()) : path;
}

void append_config(nlohmann::json& json, const ModelLayers& model) {
  std::map<std::string, int64_t> ranks;
  std::map<std::string, double> alphas;
  nlohmann::json targets = nlohmann::json::array();
  for (const auto& change : *model.layers) {
    const auto plain = peft_layer(model, change);
    const auto path = config_path(change.path);
    ranks[path] = change_rank(plain);
    alphas[path] = plain.strength * static_cast<double>(ranks[path]);
  }
  for (const auto& [path, rank] : ranks) targets.push_back(path);
  const int64_t rank = most_common(ranks);
  const double alpha = most_common(alphas);
  const auto prefix = model.name + ".";
  json[prefix + "peft_type"] = "LORA";
  json[prefix + "r"] = rank;
  json[prefix + "lora_alpha"] = alpha;
  json[prefix + "rank_pattern"] = pattern(ranks, rank);
  json[prefix + "alpha_pattern"] = pattern(alphas, alpha);
  json[prefix + "target_modules"] = targets;
  json[prefix + "lora_dropout"] = 0.0;
  json[prefix + "bias"] = "none";
  json[prefix + "use_rslora"] = false;
  json[prefix + "use_dora"] = habits_of(model).dora;
  if (habits_of(model).bias) json[prefix + "lora_bias"] = true;
}

}  // namespace

NamedTensors peft_tensors(const LoraFile& file) {
  NamedTensors tensors;
  for (const auto& model : model_layers(file)) {
    const auto habits = habits_of(model);
    for (const auto& change : *model.layers) append_layer(tensors, model, habits, change);
  }
  return tensors;
}

std::string peft_metadata(const LoraFile& file) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& model : model_layers(file)) append_config(json, model);
  return json.dump(2);
}

}  // namespace lorikeet
