// What a LoRA of any kind changes in one layer.
// Sources: LoRA arXiv 2106.09685; LoHa, LoKr and their Tucker forms: LyCORIS, arXiv 2309.14859; DoRA arXiv 2402.09353.
#pragma once

#include <torch/types.h>

#include <map>
#include <string>

namespace lorikeet {

enum class ChangeKind { kLora, kLoha, kLokr, kFull };

/// Tensors by role. "bias" and "magnitude" may come with any kind.
///   kLora: down [r, in] or [r, in, k, k], up [out, r] or [out, r, 1, 1]; Tucker: down [r, in, 1, 1], mid [r, r, k, k]
///   kLoha: w1_a [out, r], w1_b [r, in·k·k], w2_a, w2_b; Tucker: w1_a, w2_a [r, out], w1_b, w2_b [r, in], t1, t2 [r, r,
///   k, k] kLokr: w1 [a, b] or w1_a [a, r], w1_b [r, b]; w2 [c, d] or [c, d, k, k], or w2_a [c, r], w2_b [r, d·k·k], or
///   Tucker
///          w2_a [r, c], w2_b [r, d], t2 [r, r, k, k]
///   kFull: diff, of the weight's shape; a norm's is [channels]
///   bias [out]: added to the layer's bias as it is
///   magnitude [out, 1, ...] or [1, in, ...]: DoRA's length of each output's or input's part of the changed weight
struct LayerChange {
  std::string path;  // of the layer in its model, dotted
  ChangeKind kind = ChangeKind::kLora;
  std::map<std::string, torch::Tensor> factors;
  double strength = 1;  // of the product of the factors: alpha / rank in most files
  /// DoRA only. PEFT's user scale works on the product, before the lengths are set; elsewhere (A1111, ComfyUI) it works
  /// on the whole change.
  bool scales_inside = false;

  bool has(const std::string& role) const { return factors.contains(role); }
  /// Undefined when absent.
  torch::Tensor get(const std::string& role) const;
  bool is_dora() const { return has("magnitude"); }
};

/// "lora", "loha", "lokr", "full", for people.
const char* kind_name(ChangeKind kind);

/// The rank of the factors; 0 for kFull, and for kLokr with two whole factors.
int64_t change_rank(const LayerChange& change);

/// strength · ΔW without DoRA's lengths, of `shape` ([out, in], [out, in, k, k], a norm's [channels]); in the factors'
/// dtype, differentiable. Throws FormatError naming path and shapes when the factors do not make that shape.
torch::Tensor weight_product(const LayerChange& change, at::IntArrayRef shape);

/// The part of a weight [out, in, ...] that each entry of `magnitude` sets the length of: of magnitude's shape.
torch::Tensor weight_lengths(const torch::Tensor& weight, const torch::Tensor& magnitude);

/// All that the change adds to `weight` at the user's `scale`: what fusing adds, and what a live adapter computes with.
/// In float32 at least; zeros at scale 0.
torch::Tensor weight_change(const LayerChange& change, const torch::Tensor& weight, double scale);

/// Throws FormatError when the change does not fit a layer with this weight and bias (undefined: the layer has none):
/// nothing is computed, so that shapes out of a damaged file cannot ask for much memory.
void check_fits(const LayerChange& change, const torch::Tensor& weight, const torch::Tensor& bias);

}  // namespace lorikeet
