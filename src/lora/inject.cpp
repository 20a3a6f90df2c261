#include "lora/inject.h"

#include <fnmatch.h>

#include "core/errors.h"
#include "core/text.h"
#include "lora/pissa.h"

namespace lorikeet {
namespace {

/// A convolution that sees more than one pixel.
bool is_wide(const torch::Tensor& weight) { return weight.dim() == 4 && weight.size(2) * weight.size(3) > 1; }

InitialOptions options_of(const std::string& path, const torch::Tensor& weight, const LoraConfig& config) {
  InitialOptions options{config.algorithm, config.rank, config.alpha, config.rank_stabilized, config.lokr_factor};
  if (is_wide(weight)) {
    options.rank = config.conv_rank.value_or(config.rank);
    if (config.conv_alpha) options.alpha = config.conv_alpha;
  }
  for (const auto& [target, rank] : config.rank_pattern) {
    if (!is_meant(path, target)) continue;
    options.rank = rank;
    break;
  }
  return options;
}

std::shared_ptr<LoraAdapter> fresh_adapter(const std::string& path, AdaptableLayer& layer, const LoraConfig& config,
                                           torch::Generator& generator) {
  auto adapter = std::make_shared<LoraAdapter>();
  adapter->values = initial_values(path, layer.weight, options_of(path, layer.weight, config), generator);
  for (auto& [role, factor] : adapter->values.factors) {
    factor = factor.to(layer.weight.device(), config.dtype).contiguous().set_requires_grad(true);
  }
  if (config.algorithm == LoraAlgorithm::kPissa) take_out(layer, *adapter);
  adapter->dropout = config.dropout;
  return adapter;
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
  if (config.rank < 1) {
    throw UsageError(lorikeet::str("--rank is ", config.rank, ", expected 1 or more"), "try --rank=4");
  }
  if (config.conv_rank && (*config.conv_rank < 1 || *config.conv_rank > kLargestRank)) {
    throw UsageError(lorikeet::str("--conv_rank is ", *config.conv_rank, ", expected 1 to ", kLargestRank),
                     "try --conv_rank=4");
  }
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
  const AdaptableLayers adaptable(model);
  for (const auto& [path, layer] : adaptable.all()) {
    if (layer->weight.dim() < 2) continue;  // norms have no low-rank change
    bool meant = false;
    for (size_t i = 0; i < config.targets.size(); ++i) {
      if (!is_meant(path, config.targets[i])) continue;
      used[i] = meant = true;
    }
    if (!meant) continue;
    auto adapter = fresh_adapter(path, *layer, config, generator);
    adapter->generator = dropout_generator;
    layer->adapters = {adapter};
    layers.emplace_back(path, adapter);
  }
  for (size_t i = 0; i < used.size(); ++i) {
    if (used[i]) continue;
    throw UsageError(
        lorikeet::str("target module '", config.targets[i], "' names no linear layer or convolution of this model"),
        "name the end of a layer's path, such as to_q or ff.net.2, or a pattern such as *.attn2.*");
  }
  return layers;
}

void set_lora_training(const LoraLayers& layers, bool training) {
  for (const auto& [path, adapter] : layers) adapter->training = training;
}

}  // namespace lorikeet
