#include "lora/low_rank.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

#include "core/errors.h"
#include "core/text.h"
#include "engine/random.h"

namespace lorikeet {
namespace {

/// Singular values that together are below this share of all are rounding: of a product in float64, of a float32
/// matrix.
constexpr double kProductNoise = 1e-12, kMatrixNoise = 5e-7;

void check_norm(double norm) {
  if (!std::isfinite(norm)) throw NumericError("the matrix to approximate holds values that are not finite");
}

/// How many values stand before those that are rounding; at least one.
int64_t numeric_rank(const double* values, int64_t count, double noise) {
  double all = 0, tail = 0;
  for (int64_t k = 0; k < count; ++k) all += values[k] * values[k];
  while (count > 1 && tail + values[count - 1] * values[count - 1] <= noise * noise * all) {
    --count;
    tail += values[count] * values[count];
  }
  return count;
}

/// How many of the singular values to keep, at least one. `energy` is the sum of the squares of all there are.
int64_t kept_rank(const torch::Tensor& singular_values, double energy, double noise, const TruncateOptions& options) {
  const auto values = singular_values.to(torch::kDouble);
  const double* s = values.data_ptr<double>();
  int64_t most = numeric_rank(s, values.size(0), noise);
  if (options.rank) most = std::min(most, *options.rank);
  if (!options.keep_energy) return most;
  double sum = 0;
  for (int64_t k = 0; k < most; ++k) {
    sum += s[k] * s[k];
    if (sum >= *options.keep_energy * energy) return k + 1;
  }
  return most;
}

/// Each factor gets the root of the singular values: half precision then holds both well.
void balance(const Svd& svd, int64_t rank, Truncation& result) {
  const auto root = svd.s.slice(0, 0, rank).sqrt();
  result.up = (svd.u.slice(1, 0, rank) * root).to(torch::kFloat).contiguous();
  result.down = (root.unsqueeze(1) * svd.vh.slice(0, 0, rank)).to(torch::kFloat).contiguous();
}

/// Eigenvalues, falling, and eigenvectors of columns' Gram matrix in float64; those left out that float32 cannot tell
/// from zero.
std::pair<torch::Tensor, torch::Tensor> gram_eigen(const torch::Tensor& columns) {
  constexpr double kGramNoise = 1e-12;
  const auto wide = columns.to(torch::kDouble);
  const auto [values, vectors] = torch::linalg_eigh(wide.t().mm(wide));
  const double largest = values[-1].item<double>();
  const int64_t first = std::min((values <= kGramNoise * largest).sum().item<int64_t>(), values.size(0) - 1);
  const auto kept = values.slice(0, first).flip(0).clamp_min(std::numeric_limits<float>::min());
  return {kept, vectors.slice(1, first).flip(1)};
}

/// An orthonormal basis of what the columns span. All of it is matrix products: a QR of so long columns takes threads
/// thousands of meetings, and much longer where they share the cores with others.
torch::Tensor orthonormal(torch::Tensor columns) {
  for (int round = 0; round < 2; ++round) {  // the first leaves what rounding of large lengths does
    const auto [values, vectors] = gram_eigen(columns);
    columns = columns.mm((vectors * values.rsqrt()).to(columns.scalar_type()));
  }
  return columns;
}

/// The power of two by which a matrix of this norm is divided, without rounding, so that float32 holds its squares: 1
/// for all that is not damaged.
double scale_of(double norm) {
  constexpr int kUsual = 40, kFurthest = 100;
  if (norm == 0 || std::abs(std::ilogb(norm)) <= kUsual) return 1;
  return std::ldexp(1.0, std::clamp(std::ilogb(norm), -kFurthest, kFurthest));
}

}  // namespace

Svd svd_of_product(const torch::Tensor& up, const torch::Tensor& down) {
  torch::NoGradGuard no_grad;
  const auto [q_up, r_up] = torch::linalg_qr(up.to(torch::kDouble));
  const auto [q_down, r_down] = torch::linalg_qr(down.to(torch::kDouble).t());
  const auto [u, s, vh] = torch::linalg_svd(r_up.mm(r_down.t()), /*full_matrices=*/false);
  return {q_up.mm(u), s, vh.mm(q_down.t())};
}

Svd randomized_svd(const torch::Tensor& matrix, int64_t rank, const RandomSvdOptions& options) {
  torch::NoGradGuard no_grad;
  const int64_t width = std::min({rank + options.oversampling, matrix.size(0), matrix.size(1)});
  auto generator = make_generator(options.seed);
  const auto start = draw_normal({matrix.size(1), width}, generator, matrix.options());
  auto range = orthonormal(matrix.mm(start));
  // Without making them orthonormal on both ways, float32 would lose all but the largest singular values.
  for (int64_t i = 0; i < options.power_iterations; ++i)
    range = orthonormal(matrix.mm(orthonormal(matrix.t().mm(range))));
  const auto rows = matrix.t().mm(range);  // [n, width]
  const auto [squares, turn] = gram_eigen(rows);
  const int64_t kept = std::min(rank, squares.size(0));
  const auto s = squares.slice(0, 0, kept).sqrt().to(matrix.scalar_type());
  const auto w = turn.slice(1, 0, kept).to(matrix.scalar_type());
  return {range.mm(w), s, (rows.mm(w) / s).t()};
}

void check_truncation(const TruncateOptions& options) {
  if (!options.rank && !options.keep_energy) {
    throw UsageError("neither a rank nor a share of the energy to keep is given", "give --rank or --keep_energy");
  }
  if (options.rank && *options.rank < 1)
    throw UsageError(lorikeet::str("rank is ", *options.rank, ", expected at least 1"));
  if (options.keep_energy && !(*options.keep_energy > 0 && *options.keep_energy <= 1)) {
    throw UsageError(lorikeet::str("keep_energy is ", *options.keep_energy, ", expected more than 0 and at most 1"),
                     "0.95 keeps 95% of the squared singular values");
  }
}

Truncation truncate_product(const torch::Tensor& up, const torch::Tensor& down, const TruncateOptions& options) {
  torch::NoGradGuard no_grad;
  check_truncation(options);
  check_norm(frobenius_norm(up) + frobenius_norm(down));
  const auto svd = svd_of_product(up, down);
  const double energy = svd.s.square().sum().item<double>();
  Truncation result;
  result.full_rank = std::min({down.size(0), up.size(0), down.size(1)});
  const int64_t rank = kept_rank(svd.s, energy, kProductNoise, options);
  balance(svd, rank, result);
  result.norm = std::sqrt(energy);
  result.error_norm = frobenius_norm(svd.s.slice(0, rank));
  return result;
}

Truncation truncate_matrix(const torch::Tensor& matrix, const TruncateOptions& options) {
  torch::NoGradGuard no_grad;
  check_truncation(options);
  const auto given = matrix.to(torch::kFloat);
  Truncation result;
  result.norm = frobenius_norm(given);
  check_norm(result.norm);
  const double scale = scale_of(result.norm);
  const auto values = scale == 1 ? given : given / scale;
  result.full_rank = std::min(values.size(0), values.size(1));
  // A quarter more columns keep the error of flat spectra within 1% of the best at large ranks too.
  RandomSvdOptions random;
  if (options.rank) random.oversampling = std::max(random.oversampling, *options.rank / 4);
  Svd svd;
  if (options.rank && *options.rank < result.full_rank / 3) {
    svd = randomized_svd(values, *options.rank, random);
  } else {
    std::tie(svd.u, svd.s, svd.vh) = torch::linalg_svd(values, /*full_matrices=*/false);
  }
  const double energy = std::pow(result.norm / scale, 2);
  const int64_t kept = kept_rank(svd.s, energy, kMatrixNoise, options);
  svd.s = svd.s * scale;
  balance(svd, kept, result);
  check_norm(frobenius_norm(result.up) + frobenius_norm(result.down));
  result.error_norm = residual_norm(given, result.up, result.down);
  return result;
}

double frobenius_norm(const torch::Tensor& matrix) {
  if (matrix.numel() == 0) return 0;
  return torch::linalg_vector_norm(matrix, 2, torch::nullopt, /*keepdim=*/false, torch::kDouble).item<double>();
}

double product_norm(const torch::Tensor& up, const torch::Tensor& down) {
  const auto left = up.to(torch::kDouble), right = down.to(torch::kDouble);
  if (2 * left.size(1) >= std::min(left.size(0), right.size(1))) return frobenius_norm(left.mm(right));
  const auto r_up = std::get<1>(torch::linalg_qr(left, "r"));
  const auto r_down = std::get<1>(torch::linalg_qr(right.t(), "r"));
  return frobenius_norm(r_up.mm(r_down.t()));
}

double residual_norm(const torch::Tensor& matrix, const torch::Tensor& up, const torch::Tensor& down) {
  constexpr int64_t kBlockElements = int64_t{1} << 22;
  const int64_t block = std::max<int64_t>(1, kBlockElements / std::max<int64_t>(1, matrix.size(1)));
  double sum = 0;
  for (int64_t row = 0; row < matrix.size(0); row += block) {
    const auto rows = matrix.slice(0, row, row + block);
    const double part =
        frobenius_norm(torch::addmm(rows, up.slice(0, row, row + block), down, /*beta=*/1, /*alpha=*/-1));
    sum += part * part;
  }
  return std::sqrt(sum);
}

}  // namespace lorikeet
