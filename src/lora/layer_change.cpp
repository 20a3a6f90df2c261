#include "lora/layer_change.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

[[noreturn]] void refuse(const LayerChange& change, const std::string& what, at::IntArrayRef shape) {
  std::string found;
  for (const auto& [role, tensor] : change.factors) {
    found += lorikeet::str(found.empty() ? "" : ", ", role, " ", tensor.sizes());
  }
  throw FormatError(
      lorikeet::str("the LoRA's ", kind_name(change.kind), " for ", change.path, " (", found, ") ", what, " ", shape),
      "is the LoRA made for another base model?");
}

/// A product of sizes; -1, which is none, where it is beyond 2^63.
int64_t times(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? -1 : product;
}

int64_t flat_width(at::IntArrayRef shape) {
  int64_t width = 1;
  for (const int64_t size : shape.slice(1)) width = times(width, size);
  return width;
}

/// How many places the kernel of a weight of this shape has.
int64_t places_of(at::IntArrayRef shape) { return flat_width(shape.slice(std::min<size_t>(shape.size(), 1))); }

bool is_pointwise(const torch::Tensor& factor) {
  return factor.dim() == 2 || (factor.dim() == 4 && factor.size(2) == 1 && factor.size(3) == 1);
}

/// Whether the factor's last dimensions, if it has four, are the kernel of a weight of this shape.
bool has_kernel(const torch::Tensor& factor, at::IntArrayRef shape) {
  if (factor.dim() != 4) return factor.dim() == 2;
  if (shape.size() != 4) return is_pointwise(factor);
  return factor.size(2) == shape[2] && factor.size(3) == shape[3];
}

/// Rows and columns that a factor pair a [n, r] times b [r, m] makes; nothing when they do not go together.
struct Extent {
  int64_t rows = -1, columns = -1;
  bool operator==(const Extent&) const = default;
};

Extent product_extent(const torch::Tensor& a, const torch::Tensor& b) {
  if (a.dim() < 2 || b.dim() < 2 || a.numel() == 0 || b.numel() == 0) return {};
  if (flat_width(a.sizes()) != b.size(0)) return {};
  return {a.size(0), flat_width(b.sizes())};
}

/// t [r, r', k, k] with a [r, n] and b [r', m] makes [n, m, k, k].
Extent tucker_extent(const torch::Tensor& t, const torch::Tensor& a, const torch::Tensor& b, at::IntArrayRef shape) {
  if (t.dim() != 4 || a.dim() != 2 || b.dim() != 2 || !has_kernel(t, shape)) return {};
  if (t.numel() == 0 || a.numel() == 0 || b.numel() == 0) return {};
  if (t.size(0) != a.size(0) || t.size(1) != b.size(0)) return {};
  return {a.size(1), times(b.size(1), places_of(shape))};
}

torch::Tensor tucker_product(const torch::Tensor& t, const torch::Tensor& a, const torch::Tensor& b) {
  return torch::einsum("ijkl,in,jm->nmkl", {t, a, b});
}

/// Loha's factor `n` (1 or 2), flattened.
torch::Tensor loha_factor(const LayerChange& change, const std::string& n) {
  const auto a = change.get("w" + n + "_a"), b = change.get("w" + n + "_b"), t = change.get("t" + n);
  return t.defined() ? tucker_product(t, a, b).flatten(1) : torch::mm(a, b);
}

Extent loha_extent(const LayerChange& change, const std::string& n, at::IntArrayRef shape) {
  const auto a = change.get("w" + n + "_a"), b = change.get("w" + n + "_b"), t = change.get("t" + n);
  if (!a.defined() || !b.defined()) return {};
  if (t.defined()) return tucker_extent(t, a, b, shape);
  return a.dim() == 2 && b.dim() == 2 ? product_extent(a, b) : Extent{};
}

/// Lokr's factor `n`: of two dimensions, or four for a convolution's w2.
torch::Tensor lokr_factor(const LayerChange& change, const std::string& n) {
  if (change.has("w" + n)) return change.get("w" + n);
  const auto a = change.get("w" + n + "_a"), b = change.get("w" + n + "_b");
  return change.has("t" + n) ? tucker_product(change.get("t" + n), a, b) : torch::mm(a, b.flatten(1));
}

Extent lokr_extent(const LayerChange& change, const std::string& n, at::IntArrayRef shape) {
  const auto whole = change.get("w" + n);
  if (whole.defined()) {
    if (whole.numel() == 0 || !(n == "1" ? is_pointwise(whole) : has_kernel(whole, shape))) return {};
    return {whole.size(0), flat_width(whole.sizes())};
  }
  const auto a = change.get("w" + n + "_a"), b = change.get("w" + n + "_b");
  if (!a.defined() || !b.defined()) return {};
  return change.has("t" + n) ? tucker_extent(change.get("t" + n), a, b, shape) : product_extent(a, b);
}

/// kron over outputs and inputs; the kernel's places belong to w2 alone.
torch::Tensor lokr_product(const LayerChange& change, at::IntArrayRef shape) {
  const auto w1 = lokr_factor(change, "1").flatten(1);
  auto w2 = lokr_factor(change, "2");
  const int64_t places = places_of(shape);
  w2 = w2.reshape({w2.size(0), -1, places});
  // [a, c, b, d, places] -> [a·c, b·d·places]
  return torch::einsum("ab,cdp->acbdp", {w1, w2}).reshape(shape);
}

torch::Tensor lora_product(const LayerChange& change) {
  const auto down = change.get("down"), up = change.get("up"), mid = change.get("mid");
  if (!mid.defined()) return torch::mm(up.flatten(1), down.flatten(1));
  return torch::einsum("mnkl,im,nj->ijkl", {mid, up.flatten(1), down.flatten(1)}).flatten(1);
}

Extent lora_extent(const LayerChange& change, at::IntArrayRef shape) {
  const auto down = change.get("down"), up = change.get("up"), mid = change.get("mid");
  if (!down.defined() || !up.defined() || !is_pointwise(up)) return {};
  if (!mid.defined()) return has_kernel(down, shape) ? product_extent(up, down) : Extent{};
  if (shape.size() != 4 || !is_pointwise(down) || mid.dim() != 4 || !has_kernel(mid, shape)) return {};
  if (mid.numel() == 0 || down.numel() == 0 || up.numel() == 0) return {};
  if (mid.size(0) != up.size(1) || mid.size(1) != down.size(0)) return {};
  return {up.size(0), times(down.size(1), places_of(shape))};
}

Extent change_extent(const LayerChange& change, at::IntArrayRef shape) {
  switch (change.kind) {
    case ChangeKind::kLora:
      return lora_extent(change, shape);
    case ChangeKind::kLoha: {
      const auto first = loha_extent(change, "1", shape);
      return first == loha_extent(change, "2", shape) ? first : Extent{};
    }
    case ChangeKind::kLokr: {
      const auto first = lokr_extent(change, "1", shape), second = lokr_extent(change, "2", shape);
      if (first.rows < 0 || second.rows < 0 || second.columns % places_of(shape) != 0) return {};
      return {times(first.rows, second.rows), times(first.columns, second.columns)};
    }
    case ChangeKind::kFull:
      break;
  }
  const auto diff = change.get("diff");
  if (!diff.defined()) return {shape[0], flat_width(shape)};  // a bias alone
  if (diff.dim() == 0 || diff.numel() == 0) return {};
  return {diff.size(0), flat_width(diff.sizes())};
}

void check_extent(const LayerChange& change, at::IntArrayRef shape) {
  const bool is_empty = shape.empty() || std::find(shape.begin(), shape.end(), 0) != shape.end();
  // A norm's weight has no second side that factors could make.
  const bool has_sides = shape.size() == 2 || shape.size() == 4 || change.kind == ChangeKind::kFull;
  if (is_empty || !has_sides || change_extent(change, shape) != Extent{shape[0], flat_width(shape)}) {
    refuse(change, "does not make the layer's weight", shape);
  }
}

bool is_broadcast_length(const torch::Tensor& magnitude, at::IntArrayRef shape) {
  if (magnitude.dim() != static_cast<int64_t>(shape.size()) || shape.size() < 2) return false;
  for (size_t axis = 2; axis < shape.size(); ++axis) {
    if (magnitude.size(static_cast<int64_t>(axis)) != 1) return false;
  }
  return (magnitude.size(0) == shape[0] && magnitude.size(1) == 1) ||
         (magnitude.size(0) == 1 && magnitude.size(1) == shape[1]);
}

torch::Tensor at_least_float(const torch::Tensor& tensor) {
  return tensor.scalar_type() == torch::kDouble ? tensor : tensor.to(torch::kFloat);
}

}  // namespace

torch::Tensor LayerChange::get(const std::string& role) const {
  const auto found = factors.find(role);
  return found == factors.end() ? torch::Tensor() : found->second;
}

const char* kind_name(ChangeKind kind) {
  switch (kind) {
    case ChangeKind::kLora:
      return "lora";
    case ChangeKind::kLoha:
      return "loha";
    case ChangeKind::kLokr:
      return "lokr";
    case ChangeKind::kFull:
      break;
  }
  return "full";
}

int64_t change_rank(const LayerChange& change) {
  const char* const roles[] = {"down", "w1_b", "w2_b"};
  for (const char* role : roles) {
    if (change.has(role)) return change.get(role).size(0);
  }
  return 0;
}

torch::Tensor weight_product(const LayerChange& change, at::IntArrayRef shape) {
  check_extent(change, shape);
  torch::Tensor product;
  switch (change.kind) {
    case ChangeKind::kLora:
      product = lora_product(change);
      break;
    case ChangeKind::kLoha:
      product = loha_factor(change, "1") * loha_factor(change, "2");
      break;
    case ChangeKind::kLokr:
      product = lokr_product(change, shape);
      break;
    case ChangeKind::kFull:
      product = change.get("diff");
      if (!product.defined()) product = torch::zeros(shape, change.get("bias").options());
      break;
  }
  product = product.reshape(shape);
  return change.strength == 1 ? product : product * change.strength;
}

torch::Tensor weight_lengths(const torch::Tensor& weight, const torch::Tensor& magnitude) {
  const bool per_output = magnitude.size(0) == weight.size(0) && magnitude.size(1) == 1;
  std::vector<int64_t> axes;
  for (int64_t axis = 0; axis < weight.dim(); ++axis) {
    if (axis != (per_output ? 0 : 1)) axes.push_back(axis);
  }
  return weight.norm(2, axes, /*keepdim=*/true);
}

torch::Tensor weight_change(const LayerChange& change, const torch::Tensor& weight, double scale) {
  const auto base = at_least_float(weight.detach());
  if (scale == 0) return torch::zeros_like(base);
  LayerChange wide = change;
  for (auto& [role, factor] : wide.factors) factor = at_least_float(factor);
  const auto product = weight_product(wide, weight.sizes());
  if (!change.is_dora()) return scale == 1 ? product : product * scale;
  const auto magnitude = wide.get("magnitude");
  const auto changed = change.scales_inside ? base + product * scale : base + product;
  // A row of zeros has no direction to keep.
  const auto lengths = weight_lengths(changed, magnitude).clamp_min(std::numeric_limits<float>::min());
  const auto difference = changed * (magnitude / lengths) - base;
  return change.scales_inside || scale == 1 ? difference : difference * scale;
}

void check_fits(const LayerChange& change, const torch::Tensor& weight, const torch::Tensor& bias) {
  if (weight.dim() == 0 || weight.numel() == 0) refuse(change, "meets a weight of shape", weight.sizes());
  check_extent(change, weight.sizes());
  if (change.is_dora() && !is_broadcast_length(change.get("magnitude"), weight.sizes())) {
    refuse(change, "has lengths for neither outputs nor inputs of the layer's weight", weight.sizes());
  }
  const auto shift = change.get("bias");
  if (!shift.defined()) return;
  if (!bias.defined()) {
    throw FormatError(lorikeet::str("the LoRA changes the bias of ", change.path, ", a layer that has none"));
  }
  if (shift.numel() != bias.numel()) refuse(change, "does not fit the layer's bias", bias.sizes());
}

}  // namespace lorikeet
