// Putting adapters into a model's layers, and taking them out.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lora/adapter.h"

namespace lorikeet {

/// Which layers get an adapter, and of what kind.
struct LoraConfig {
  int64_t rank = 4;
  /// Other ranks for layers that a target means; the first that does counts.
  std::vector<std::pair<std::string, int64_t>> rank_pattern;
  std::optional<double> alpha;   // unset: the rank, so that the strength is 1
  bool rank_stabilized = false;  // strength alpha / sqrt(rank): rsLoRA, arXiv 2312.03732
  double dropout = 0;
  /// A layer is meant when its path is the target or ends in ".target"; a target with * or ? is a pattern for the
  /// whole path, where * also spans dots.
  std::vector<std::string> targets;
};

/// Whether `target`, as in LoraConfig::targets, means the layer at `path`.
bool is_meant(const std::string& path, const std::string& target);

/// Adapters by the dotted path of their layer, in the model's registration order.
using LoraLayers = std::vector<std::pair<std::string, std::shared_ptr<LoraAdapter>>>;

/// A fresh trainable adapter in every layer that `config` means. down ~ N(0, (1/rank)^2), up = 0, drawn from
/// `generator` (a CPU one) exactly as PEFT's init_lora_weights="gaussian" draws them. Adapters are made in float32 on
/// each layer's device; `dropout_generator` draws their masks.
/// Throws UsageError for rank < 1, dropout outside [0, 1), and a target that no layer answers to.
LoraLayers inject_lora(torch::nn::Module& model, const LoraConfig& config, torch::Generator& generator,
                       const torch::Generator& dropout_generator);

/// An adapter with these values in the layer at `path`; replaces what is there. Linear factors are accepted for 1x1
/// convolutions and the other way round. Throws FormatError when there is no such layer or the shapes do not fit it.
std::shared_ptr<LoraAdapter> attach_lora(torch::nn::Module& model, const std::string& path, const torch::Tensor& down,
                                         const torch::Tensor& up, double alpha);

/// Empties every slot of the model.
void detach_lora(torch::nn::Module& model);

/// The user's scale for all adapters.
void set_lora_scale(const LoraLayers& layers, double scale);
/// Training mode: dropout is drawn.
void set_lora_training(const LoraLayers& layers, bool training);

/// down, up, down, up ... in layer order: what an optimizer trains.
std::vector<torch::Tensor> lora_parameters(const LoraLayers& layers);

}  // namespace lorikeet
