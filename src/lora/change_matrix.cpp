#include "lora/change_matrix.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

struct Factors {
  torch::Tensor up, down;  // [rows, r], [r, columns]
  int64_t rank() const { return down.size(0); }
};

[[noreturn]] void refuse(const LayerChange& change) {
  std::string found;
  for (const auto& [role, tensor] : change.factors) {
    found += lorikeet::str(found.empty() ? "" : ", ", role, " ", tensor.sizes());
  }
  throw FormatError(lorikeet::str("the LoRA's ", kind_name(change.kind), " for ", change.path,
                                  " has factors that do not ", "go together: ", found));
}

void require(bool condition, const LayerChange& change) {
  if (!condition) refuse(change);
}

torch::Tensor factor(const LayerChange& change, const std::string& role) {
  const auto tensor = change.get(role);
  require(tensor.defined() && tensor.dim() >= 2 && tensor.numel() > 0, change);
  return tensor.to(torch::kDouble);
}

/// a [r, rows] and b [r', columns] through t [r, r', k, k], or without it a [rows, r] and b [r, columns].
Factors pair_of(const LayerChange& change, const std::string& a_role, const std::string& b_role,
                const std::string& t_role) {
  const auto a = factor(change, a_role).flatten(1), b = factor(change, b_role).flatten(1);
  if (!change.has(t_role)) {
    require(a.size(1) == b.size(0), change);
    return {a, b};
  }
  const auto t = factor(change, t_role);
  require(t.dim() == 4 && t.size(0) == a.size(0) && t.size(1) == b.size(0), change);
  return {a.t(), torch::einsum("ijkl,jm->imkl", {t, b}).flatten(1)};
}

Factors lora_factors(const LayerChange& change) {
  if (!change.has("mid")) return pair_of(change, "up", "down", "mid");
  LayerChange turned = change;  // LoRA's Tucker form has its up [out, r] where the others have [r, out]
  turned.factors["up"] = factor(change, "up").flatten(1).t();
  return pair_of(turned, "up", "down", "mid");
}

/// One of LoKr's factors as a product: a whole one beside an identity on its shorter side.
Factors lokr_factors(const LayerChange& change, const std::string& name) {
  if (!change.has(name)) return pair_of(change, name + "_a", name + "_b", name == "w2" ? "t2" : "");
  const auto whole = factor(change, name).flatten(1);
  if (whole.size(0) <= whole.size(1)) return {torch::eye(whole.size(0), whole.options()), whole};
  return {whole, torch::eye(whole.size(1), whole.options())};
}

/// The kernel's size [k, k] that some factor tells; empty when none does.
std::vector<int64_t> told_kernel(const LayerChange& change) {
  for (const char* role : {"mid", "t1", "t2", "w2", "down"}) {
    const auto tensor = change.get(role);
    if (tensor.defined() && tensor.dim() == 4) return {tensor.size(2), tensor.size(3)};
  }
  return {};
}

/// Stable Diffusion's convolutions of these names are 3x3, and their flattened factors do not say so.
std::vector<int64_t> named_kernel(const LayerChange& change, int64_t columns) {
  const bool flat = change.kind == ChangeKind::kLoha || change.kind == ChangeKind::kLokr;
  const auto name = change.path.substr(change.path.rfind('.') + 1);
  for (const char* known : {"conv", "conv1", "conv2", "conv_in", "conv_out"}) {
    if (flat && name == known && columns % 9 == 0) return {3, 3};
  }
  return {};
}

void set_shape(const LayerChange& change, int64_t rows, int64_t columns, ChangeMatrix& matrix) {
  auto kernel = told_kernel(change);
  if (kernel.empty()) kernel = named_kernel(change, columns);
  matrix.shape = {rows, columns};
  if (kernel.empty()) return;
  const int64_t places = kernel[0] * kernel[1];
  require(places > 0 && columns % places == 0, change);
  matrix.shape = {rows, columns / places, kernel[0], kernel[1]};
}

/// factor · up · down, its size spread over both.
void set_product(const Factors& factors, double factor, ChangeMatrix& matrix) {
  const double root = std::sqrt(std::abs(factor));
  matrix.up = factors.up * std::copysign(root, factor);
  matrix.down = factors.down * root;
}

/// Columns with columns and rows with rows: their product is both products, number by number.
Factors crossed(const Factors& first, const Factors& second) {
  return {torch::einsum("oi,oj->oij", {first.up, second.up}).flatten(1),
          torch::einsum("ic,jc->ijc", {first.down, second.down}).flatten(0, 1)};
}

void set_loha(const LayerChange& change, double strength, ChangeMatrix& matrix) {
  const auto first = pair_of(change, "w1_a", "w1_b", "t1"), second = pair_of(change, "w2_a", "w2_b", "t2");
  const int64_t rows = first.up.size(0), columns = first.down.size(1);
  require(rows == second.up.size(0) && columns == second.down.size(1), change);
  set_shape(change, rows, columns, matrix);
  if (first.rank() > std::min(rows, columns) / second.rank()) {
    matrix.dense = (first.up.mm(first.down) * second.up.mm(second.down) * strength).to(torch::kFloat);
    return;
  }
  set_product(crossed(first, second), strength, matrix);
}

/// Of matrices. torch::kron of 2.11 fails where one of size 1 somewhere is transposed, even when made contiguous.
torch::Tensor kronecker(const torch::Tensor& a, const torch::Tensor& b) {
  const auto products = a.unsqueeze(1).unsqueeze(3) * b.unsqueeze(0).unsqueeze(2);
  return products.reshape({a.size(0) * b.size(0), a.size(1) * b.size(1)});
}

void set_lokr(const LayerChange& change, double strength, ChangeMatrix& matrix) {
  const auto first = lokr_factors(change, "w1"), second = lokr_factors(change, "w2");
  set_shape(change, first.up.size(0) * second.up.size(0), first.down.size(1) * second.down.size(1), matrix);
  if (first.rank() * second.rank() > std::min(matrix.shape[0], first.down.size(1) * second.down.size(1))) {
    matrix.dense = (kronecker(first.up.mm(first.down), second.up.mm(second.down)) * strength).to(torch::kFloat);
    return;
  }
  set_product({kronecker(first.up, second.up), kronecker(first.down, second.down)}, strength, matrix);
}

void set_full(const LayerChange& change, double strength, ChangeMatrix& matrix) {
  const auto diff = change.get("diff");
  if (!diff.defined()) {
    require(change.has("bias"), change);
    return;
  }
  require(diff.dim() >= 1 && diff.numel() > 0, change);
  matrix.shape = diff.sizes().vec();
  matrix.dense = diff.reshape({diff.size(0), -1}).to(torch::kFloat) * strength;
}

double loha_norm(const LayerChange& change) {
  const auto first = pair_of(change, "w1_a", "w1_b", "t1"), second = pair_of(change, "w2_a", "w2_b", "t2");
  const int64_t rows = first.up.size(0), columns = first.down.size(1);
  require(rows == second.up.size(0) && columns == second.down.size(1), change);
  const int64_t ranks = first.rank() * second.rank();
  if (ranks <= std::min(rows, columns) / 8) {
    const auto factors = crossed(first, second);
    return product_norm(factors.up, factors.down);
  }
  constexpr int64_t kBlockElements = int64_t{1} << 20;
  const int64_t block = std::max<int64_t>(1, kBlockElements / columns);
  double sum = 0;
  for (int64_t row = 0; row < rows; row += block) {
    const auto part = [&](const Factors& factors) { return factors.up.slice(0, row, row + block).mm(factors.down); };
    sum += std::pow(frobenius_norm(part(first) * part(second)), 2);
  }
  return std::sqrt(sum);
}

double lokr_norm(const LayerChange& change) {
  double norm = 1;
  for (const char* name : {"w1", "w2"}) {
    if (change.has(name)) {
      norm *= frobenius_norm(factor(change, name));
    } else {
      const auto pair = lokr_factors(change, name);
      norm *= product_norm(pair.up, pair.down);
    }
  }
  return norm;
}

int64_t columns_of(const ChangeMatrix& matrix) {
  return matrix.is_product() ? matrix.down.size(1) : matrix.dense.size(1);
}

}  // namespace

ChangeMatrix change_matrix(const LayerChange& change, double weight) {
  torch::NoGradGuard no_grad;
  const double strength = weight * change.strength;
  ChangeMatrix matrix;
  switch (change.kind) {
    case ChangeKind::kLora: {
      const auto factors = lora_factors(change);
      set_shape(change, factors.up.size(0), factors.down.size(1), matrix);
      set_product(factors, strength, matrix);
      break;
    }
    case ChangeKind::kLoha:
      set_loha(change, strength, matrix);
      break;
    case ChangeKind::kLokr:
      set_lokr(change, strength, matrix);
      break;
    case ChangeKind::kFull:
      set_full(change, strength, matrix);
      break;
  }
  return matrix;
}

void add_change(ChangeMatrix& sum, const ChangeMatrix& other, const std::string& path) {
  if (other.shape.empty()) return;
  if (sum.shape.empty()) {
    sum = other;
    return;
  }
  const bool both_tell = sum.shape.size() == other.shape.size();
  if (sum.shape[0] != other.shape[0] || columns_of(sum) != columns_of(other) ||
      (both_tell && sum.shape != other.shape)) {
    throw FormatError(lorikeet::str("the LoRAs change ", path, " as a weight of ", at::IntArrayRef(sum.shape),
                                    " and of ", at::IntArrayRef(other.shape)),
                      "they are made for different base models");
  }
  if (other.shape.size() > sum.shape.size()) sum.shape = other.shape;
  if (other.up.defined()) {
    sum.up = sum.up.defined() ? torch::cat({sum.up, other.up}, 1) : other.up;
    sum.down = sum.down.defined() ? torch::cat({sum.down, other.down}, 0) : other.down;
  }
  if (other.dense.defined()) sum.dense = sum.dense.defined() ? sum.dense + other.dense : other.dense;
}

torch::Tensor dense_change(const ChangeMatrix& matrix) {
  torch::NoGradGuard no_grad;
  torch::Tensor dense = matrix.dense;
  if (matrix.up.defined()) {
    const auto product = matrix.up.to(torch::kFloat).mm(matrix.down.to(torch::kFloat));
    dense = dense.defined() ? dense + product : product;
  }
  return dense.reshape(matrix.shape);
}

double change_norm(const ChangeMatrix& matrix) {
  if (matrix.shape.empty()) return 0;
  return matrix.is_product() ? product_norm(matrix.up, matrix.down) : frobenius_norm(dense_change(matrix));
}

double change_norm(const LayerChange& change) {
  torch::NoGradGuard no_grad;
  if (change.kind == ChangeKind::kLoha) return std::abs(change.strength) * loha_norm(change);
  if (change.kind == ChangeKind::kLokr) return std::abs(change.strength) * lokr_norm(change);
  return change_norm(change_matrix(change));
}

Truncation truncate_change(const ChangeMatrix& matrix, const TruncateOptions& options) {
  // Many files' factors together are wider than the matrix they make: then it is less work to look at that.
  const bool small = matrix.is_product() && matrix.up.size(1) <= std::min(matrix.up.size(0), columns_of(matrix));
  if (small) return truncate_product(matrix.up, matrix.down, options);
  return truncate_matrix(dense_change(matrix).flatten(1), options);
}

LayerChange lora_change(const std::string& path, const torch::Tensor& up, const torch::Tensor& down,
                        const std::vector<int64_t>& shape) {
  LayerChange change;
  change.path = path;
  const bool convolution = shape.size() == 4;
  const int64_t rank = down.size(0);
  const auto flat_up = up.to(torch::kFloat).contiguous(), flat_down = down.to(torch::kFloat).contiguous();
  change.factors["up"] = convolution ? flat_up.reshape({shape[0], rank, 1, 1}) : flat_up;
  change.factors["down"] = convolution ? flat_down.reshape({rank, shape[1], shape[2], shape[3]}) : flat_down;
  return change;
}

}  // namespace lorikeet
