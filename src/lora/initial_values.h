// What a fresh adapter begins with, by algorithm.
// Sources: PEFT 0.21 (LoRA with init_lora_weights="gaussian", DoRA, PiSSA arXiv 2404.02948) and LyCORIS 4.1 (LoCon,
// LoHa, LoKr), whose draws from a generator of the same seed it repeats, layer by layer.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "lora/layer_change.h"

namespace lorikeet {

enum class LoraAlgorithm { kLora, kLocon, kLoha, kLokr, kDora, kPissa };

/// "lora", "locon", "loha", "lokr", "dora" or "pissa". Throws UsageError for other names.
LoraAlgorithm parse_lora_algorithm(const std::string& name);

struct InitialOptions {
  LoraAlgorithm algorithm = LoraAlgorithm::kLora;
  int64_t rank = 4;
  std::optional<double> alpha;   // unset: the rank, so that the strength is 1
  bool rank_stabilized = false;  // strength alpha / sqrt(rank): rsLoRA, arXiv 2312.03732
  int64_t lokr_factor = -1;      // see kronecker_sizes
};

/// The change that a fresh adapter of the layer at `path` makes, in float32 on the CPU; that of every algorithm but
/// PiSSA adds nothing to `weight` ([out, in] or [out, in, k, k]) yet. Draws from `generator`, a CPU one.
///   kLora: down ~ N(0, (1/rank)^2), up = 0.  kDora: the same, and the weight's lengths as magnitude.
///   kLocon: down ~ U(±1/sqrt(fan-in)), up = 0.
///   kLoha: w1_a ~ N(0, 0.1^2), w1_b and w2_b ~ N(0, 1), w2_a = 0.
///   kLokr: w1 ~ U(±1/sqrt(fan-in)) and w2 = 0; w2 is w2_a · w2_b where 2 · rank is less than its larger side, and then
///     w2_a ~ U and w2_b = 0. The strength is 1 where both are whole.
///   kPissa: up · down · strength is the best approximation of the weight of this rank; nothing random but the draws of
///     PEFT's constructors.
/// Throws UsageError when PiSSA cannot take so many directions out of the weight.
LayerChange initial_values(const std::string& path, const torch::Tensor& weight, const InitialOptions& options,
                           torch::Generator& generator);

/// A dimension as a product of two, the smaller first: as near to each other as can be with -1, else the smaller being
/// `factor` where that divides, or the nearest below it that does. Source: LyCORIS' factorization.
std::pair<int64_t, int64_t> kronecker_sizes(int64_t dimension, int64_t factor);

}  // namespace lorikeet
