// Fresh adapters for training.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lora/attach.h"
#include "lora/initial_values.h"

namespace lorikeet {

/// Which layers get an adapter, and of what kind.
struct LoraConfig {
  LoraAlgorithm algorithm = LoraAlgorithm::kLora;
  int64_t rank = 4;
  std::optional<double> alpha;   // unset: the rank, so that the strength is 1
  bool rank_stabilized = false;  // strength alpha / sqrt(rank)
  /// The same for convolutions that see more than one pixel; unset: as for all.
  std::optional<int64_t> conv_rank;
  std::optional<double> conv_alpha;
  /// Other ranks for layers that a target means; the first that does counts, before `conv_rank`.
  std::vector<std::pair<std::string, int64_t>> rank_pattern;
  int64_t lokr_factor = -1;
  double dropout = 0;
  /// A layer is meant when its path is the target or ends in ".target"; a target with * or ? is a pattern for the
  /// whole path, where * also spans dots.
  std::vector<std::string> targets;
  torch::ScalarType dtype = torch::kFloat;  // of the factors
};

/// Whether `target`, as in LoraConfig::targets, means the layer at `path`.
bool is_meant(const std::string& path, const std::string& target);

/// A fresh trainable adapter in every layer that `config` means, on the layer's device: the only one in its slots. Its
/// values are drawn from `generator` (see initial_values); `dropout_generator` draws dropout masks. PiSSA takes what
/// its adapters begin with out of the layers' weights. Throws UsageError for ranks < 1, dropout outside [0, 1), and a
/// target that no layer answers to.
LoraLayers inject_lora(torch::nn::Module& model, const LoraConfig& config, torch::Generator& generator,
                       const torch::Generator& dropout_generator);

/// Training mode: dropout is drawn.
void set_lora_training(const LoraLayers& layers, bool training);

}  // namespace lorikeet
