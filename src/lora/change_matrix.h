// The change of a weight as one matrix, and sums of such.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "lora/layer_change.h"
#include "lora/low_rank.h"

namespace lorikeet {

/// up · down + dense, a matrix [out, in·k·k] ([channels, 1] for a norm).
struct ChangeMatrix {
  torch::Tensor up, down;      // float64 [out, r], [r, in·k·k]; undefined: no product
  torch::Tensor dense;         // float32; undefined: nothing but the product
  std::vector<int64_t> shape;  // of the weight

  bool is_product() const { return !dense.defined(); }
  bool has_rank() const { return shape.size() > 1; }  // a norm's has none
};

/// weight · strength · ΔW, without bias and DoRA's lengths. The factors of every kind but kFull make a product exactly:
/// LoHa's of rank r1·r2 (products of columns with columns and rows with rows), LoKr's of rank(w1)·rank(w2) (Kronecker
/// products of both sides, a whole factor standing beside an identity), Tucker's of rank r. LoHa is made dense where
/// r1·r2 is above min(out, in·k·k). A bias alone has no matrix: shape is empty.
/// LoHa and LoKr may not tell a convolution's kernel; then 3x3 goes by the layer's name.
/// Throws FormatError when factors are missing or do not go together.
ChangeMatrix change_matrix(const LayerChange& change, double weight = 1);

/// sum += other. Throws FormatError naming `path` when the shapes differ.
void add_change(ChangeMatrix& sum, const ChangeMatrix& other, const std::string& path);

/// In float32, of the weight's shape.
torch::Tensor dense_change(const ChangeMatrix& matrix);

/// Frobenius norm.
double change_norm(const ChangeMatrix& matrix);
/// The same of change_matrix(change), without the large factors that LoHa and LoKr have there.
double change_norm(const LayerChange& change);

/// See low_rank.h. `matrix` has a rank.
Truncation truncate_change(const ChangeMatrix& matrix, const TruncateOptions& options);

/// A plain LoRA layer of these factors [out, r], [r, in·k·k], in the dimensions that go with the weight's shape.
LayerChange lora_change(const std::string& path, const torch::Tensor& up, const torch::Tensor& down,
                        const std::vector<int64_t>& shape);

}  // namespace lorikeet
