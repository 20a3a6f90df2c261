// The best approximations of matrices by products of few columns and rows.
// Source: randomised SVD as algorithm 4.4 and 5.1 of Halko, Martinsson, Tropp 2011, https://arxiv.org/abs/0909.4061.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>

namespace lorikeet {

/// matrix = u · diag(s) · vh: u [m, k], s [k] falling, vh [k, n].
struct Svd {
  torch::Tensor u, s, vh;
};

/// All singular values of up [m, r] times down [r, n], in float64. The product itself is never formed: QR of both
/// factors, then the SVD of a matrix of r rows.
Svd svd_of_product(const torch::Tensor& up, const torch::Tensor& down);

struct RandomSvdOptions {
  int64_t oversampling = 16;     // columns beside those asked for
  int64_t power_iterations = 4;  // the flatter the singular values, the more are needed
  uint64_t seed = 0;             // the same seed gives the same result
};

/// The first `rank` singular values of a matrix [m, n], in its dtype; fewer where the others are rounding.
Svd randomized_svd(const torch::Tensor& matrix, int64_t rank, const RandomSvdOptions& options = {});

/// How much to keep; with both, whichever keeps less. A rank is never above what the matrix can have.
struct TruncateOptions {
  std::optional<int64_t> rank;
  std::optional<double> keep_energy;  // of the sum of the squared singular values; 0 < keep_energy <= 1
};
/// Throws UsageError unless one is set and all are in their range.
void check_truncation(const TruncateOptions& options);

/// A matrix as up · down with equal lengths on both sides, in float32.
struct Truncation {
  torch::Tensor up, down;  // [m, rank], [rank, n]
  int64_t full_rank = 0;   // that the factors, or the matrix, could have had
  double norm = 0;         // Frobenius norm of the whole
  double error_norm = 0;   // of what is lost
  int64_t rank() const { return down.size(0); }
};

/// Exact: the best approximation there is. Singular values that are rounding are always dropped.
/// A zero matrix becomes rank 1. Throws NumericError when a number is not finite.
Truncation truncate_product(const torch::Tensor& up, const torch::Tensor& down, const TruncateOptions& options);
/// Of a matrix in float32: randomised where a rank well below the full one is asked for, exact elsewhere.
Truncation truncate_matrix(const torch::Tensor& matrix, const TruncateOptions& options);

/// Frobenius norms, summed in float64; the second of up · down, the third of matrix - up · down.
double frobenius_norm(const torch::Tensor& matrix);
double product_norm(const torch::Tensor& up, const torch::Tensor& down);
double residual_norm(const torch::Tensor& matrix, const torch::Tensor& up, const torch::Tensor& down);

}  // namespace lorikeet
