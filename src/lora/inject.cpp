#include "lora/inject.h"

#include <fnmatch.h>

#include <cmath>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

/// What nn.Linear's and nn.Conv2d's constructors draw for a weight; only the draws matter, the values are overwritten.
void draw_constructor(torch::Tensor weight, torch::Generator& generator) {
  const double fan_in = static_cast<double>(weight[0].numel());
  const double bound = 1 / std::sqrt(fan_in);
  weight.uniform_(-bound, bound, generator);
}

int64_t rank_of(const std::string& path, const LoraConfig& config) {
  for (const auto& [target, rank] : config.rank_pattern) {
    if (is_meant(path, target)) return rank;
  }
  return config.rank;
}

std::shared_ptr<LoraAdapter> fresh_adapter(const torch::Tensor& weight, int64_t rank, const LoraConfig& config,
                                           torch::Generator& generator) {
  auto adapter = std::make_shared<LoraAdapter>();
  auto down_shape = weight.sizes().vec();
  down_shape[0] = rank;
  std::vector<int64_t> up_shape{weight.size(0), rank};
  if (weight.dim() == 4) up_shape.insert(up_shape.end(), {1, 1});
  auto down = torch::empty(down_shape), up = torch::empty(up_shape);
  draw_constructor(down, generator);
  draw_constructor(up, generator);
  down.normal_(0, 1.0 / static_cast<double>(rank), generator);
  up.zero_();
  adapter->down = down.to(weight.device()).set_requires_grad(true);
  adapter->up = up.to(weight.device()).set_requires_grad(true);
  adapter->alpha = config.alpha.value_or(static_cast<double>(rank));
  // The slot's strength is alpha / rank.
  if (config.rank_stabilized) adapter->alpha *= std::sqrt(static_cast<double>(rank));
  adapter->dropout = config.dropout;
  return adapter;
}

/// The weight of an adaptable layer, or nothing.
torch::Tensor adaptable_weight(const std::shared_ptr<torch::nn::Module>& module) {
  if (auto* linear = module->as<AdaptableLinear>()) return linear->weight;
  if (auto* conv = module->as<AdaptableConv2d>()) return conv->weight;
  return {};
}

void place(const std::shared_ptr<torch::nn::Module>& module, const std::shared_ptr<LoraAdapter>& adapter) {
  if (auto* linear = module->as<AdaptableLinear>()) {
    linear->adapter = adapter;
  } else if (auto* conv = module->as<AdaptableConv2d>()) {
    if (adapter) {
      adapter->stride = conv->stride;
      adapter->padding = conv->padding;
    }
    conv->adapter = adapter;
  }
}

constexpr int64_t kLargestRank = 1 << 24;

void check_config(const LoraConfig& config) {
  if (config.rank > kLargestRank) {
    throw UsageError(lorikeet::str("--rank is ", config.rank, ", expected at most ", kLargestRank), "try --rank=4");
  }
  for (const auto& [target, rank] : config.rank_pattern) {
    if (rank >= 1 && rank <= kLargestRank) continue;
    throw UsageError(
        lorikeet::str("--rank_pattern: ", target, "=", rank, ", a rank of 1 to ", kLargestRank, " expected"),
        "attn2.to_k=8, for instance");
  }
  if (config.rank < 1)
    throw UsageError(lorikeet::str("--rank is ", config.rank, ", expected 1 or more"), "try --rank=4");
  if (!(config.dropout >= 0 && config.dropout < 1)) {
    throw UsageError(lorikeet::str("--lora_dropout is ", config.dropout, ", expected at least 0 and less than 1"));
  }
}

}  // namespace

bool is_meant(const std::string& path, const std::string& target) {
  if (target.find_first_of("*?") != std::string::npos) return fnmatch(target.c_str(), path.c_str(), 0) == 0;
  if (path == target) return true;
  return path.size() > target.size() && path[path.size() - target.size() - 1] == '.' && path.ends_with(target);
}

LoraLayers inject_lora(torch::nn::Module& model, const LoraConfig& config, torch::Generator& generator,
                       const torch::Generator& dropout_generator) {
  check_config(config);
  torch::NoGradGuard no_grad;
  LoraLayers layers;
  std::vector<bool> used(config.targets.size(), false);
  for (const auto& item : model.named_modules(std::string(), /*include_self=*/false)) {
    const auto weight = adaptable_weight(item.value());
    if (!weight.defined()) continue;
    bool meant = false;
    for (size_t i = 0; i < config.targets.size(); ++i) {
      if (!is_meant(item.key(), config.targets[i])) continue;
      used[i] = meant = true;
    }
    if (!meant) continue;
    auto adapter = fresh_adapter(weight, rank_of(item.key(), config), config, generator);
    adapter->generator = dropout_generator;
    place(item.value(), adapter);
    layers.emplace_back(item.key(), adapter);
  }
  for (size_t i = 0; i < used.size(); ++i) {
    if (used[i]) continue;
    throw UsageError(
        lorikeet::str("target module '", config.targets[i], "' names no linear layer or convolution of this model"),
        "name the end of a layer's path, such as to_q or ff.net.2, or a pattern such as *.attn2.*");
  }
  return layers;
}

std::shared_ptr<LoraAdapter> attach_lora(torch::nn::Module& model, const std::string& path, const torch::Tensor& down,
                                         const torch::Tensor& up, double alpha) {
  const auto modules = model.named_modules(std::string(), /*include_self=*/false);
  const auto* module = modules.find(path);
  const auto weight = module == nullptr ? torch::Tensor() : adaptable_weight(*module);
  if (!weight.defined())
    throw FormatError(lorikeet::str("the LoRA has weights for ", path, ", which is no layer of this model"));
  const auto fits = [&](const torch::Tensor& a, const torch::Tensor& b) {
    return a.dim() == weight.dim() && b.dim() == weight.dim() && a.size(0) == b.size(1) &&
           b.size(0) == weight.size(0) && a.sizes().slice(1) == weight.sizes().slice(1) && b[0][0].numel() == 1;
  };
  const bool empty = down.numel() == 0 || up.numel() == 0;
  auto a = down, b = up;
  if (empty) {
    // Nothing to reshape; refused below.
  } else if (weight.dim() == 4 && a.dim() == 2 && b.dim() == 2) {
    a = a.unsqueeze(-1).unsqueeze(-1);
    b = b.unsqueeze(-1).unsqueeze(-1);
  } else if (weight.dim() == 2 && a.dim() == 4 && b.dim() == 4 && a[0][0].numel() == 1 && b[0][0].numel() == 1) {
    a = a.flatten(1);
    b = b.flatten(1);
  }
  if (empty || !fits(a, b)) {
    throw FormatError(lorikeet::str("the LoRA's factors for ", path, " are ", down.sizes(), " and ", up.sizes(),
                                    ", which do not fit the layer's weight ", weight.sizes()),
                      "is the LoRA made for another base model?");
  }
  auto adapter = std::make_shared<LoraAdapter>();
  adapter->down = a.to(weight.device()).contiguous();
  adapter->up = b.to(weight.device()).contiguous();
  adapter->alpha = alpha;
  place(*module, adapter);
  return adapter;
}

void detach_lora(torch::nn::Module& model) {
  for (const auto& item : model.named_modules(std::string(), /*include_self=*/false)) place(item.value(), nullptr);
}

void set_lora_scale(const LoraLayers& layers, double scale) {
  for (const auto& [path, adapter] : layers) adapter->scale = scale;
}

void set_lora_training(const LoraLayers& layers, bool training) {
  for (const auto& [path, adapter] : layers) adapter->training = training;
}

std::vector<torch::Tensor> lora_parameters(const LoraLayers& layers) {
  std::vector<torch::Tensor> parameters;
  for (const auto& [path, adapter] : layers) {
    parameters.push_back(adapter->down);
    parameters.push_back(adapter->up);
  }
  return parameters;
}

}  // namespace lorikeet
