#include "lora/formats/layer_assembly.h"

#include <algorithm>
#include <vector>

#include "core/errors.h"
#include "core/text.h"
#include "io/safetensors_header.h"

namespace lorikeet {
namespace {

bool is_matrix(const torch::Tensor& tensor) { return tensor.dim() == 2; }
bool is_kernel(const torch::Tensor& tensor) { return tensor.dim() == 4; }
bool is_pointwise(const torch::Tensor& tensor) {
  return is_matrix(tensor) || (is_kernel(tensor) && tensor.size(2) == 1 && tensor.size(3) == 1);
}
int64_t width(const torch::Tensor& tensor) { return tensor.numel() / tensor.size(0); }

// The largest weight of Stable Diffusion's, of one of SDXL's convolutions, has 29 million numbers.
constexpr int64_t kMostNumbers = int64_t{1} << 25;

/// Their product, or more than kMostNumbers.
int64_t bounded_product(std::initializer_list<int64_t> sizes) {
  int64_t all = 1;
  for (const int64_t size : sizes) {
    if (__builtin_mul_overflow(all, size, &all) || all > kMostNumbers) return kMostNumbers + 1;
  }
  return all;
}

class Assembly {
 public:
  Assembly(const std::string& path, const LayerParts& parts, FactorReader& reader) : parts_(parts), reader_(reader) {
    change_.path = path;
    change_.kind = parts.kind.value_or(ChangeKind::kFull);
    for (const auto& [role, part] : parts.parts) {
      if (role != "alpha" && role != "scale") change_.factors.emplace(role, reader.read(part.key, part.tensor));
    }
  }

  LayerChange finish(const StrengthRule& rule) {
    check();
    check_extent();
    change_.strength = strength(rule);
    for (const char* role : {"bias", "up_bias"}) {
      if (has(role) && get(role).dim() != 1) wrong(role, "is a bias, one dimension expected");
    }
    if (has("up_bias")) {
      if (has("bias")) wrong("up_bias", "is a second bias of the layer");
      // PEFT writes one for every layer of a model when one has it.
      if (get("up_bias").any().item<bool>()) change_.factors["bias"] = get("up_bias") * change_.strength;
      change_.factors.erase("up_bias");
    }
    set_magnitude();
    return std::move(change_);
  }

 private:
  bool has(const char* role) const { return change_.has(role); }
  torch::Tensor get(const std::string& role) const { return change_.get(role); }

  [[noreturn]] void wrong(const std::string& role, const std::string& what) const {
    const auto& part = parts_.parts.at(role);
    reader_.fail(part.key, lorikeet::str("of shape ", part.tensor.sizes(), " ", what));
  }

  void require(const std::vector<const char*>& roles) const {
    for (const char* role : roles) {
      if (has(role)) continue;
      const auto& there = parts_.parts.begin()->second;
      reader_.fail(there.key, lorikeet::str("is there, but its layer has no ", role, " factor"),
                   "the file is incomplete: download or save it again");
    }
  }

  void check() const {
    switch (change_.kind) {
      case ChangeKind::kLora:
        return check_lora();
      case ChangeKind::kLoha:
        check_product("1", /*must_be_pair=*/true);
        check_product("2", /*must_be_pair=*/true);
        if (has("t1") != has("t2")) require({"t1", "t2"});
        return;
      case ChangeKind::kLokr:
        check_product("1", /*must_be_pair=*/false);
        check_product("2", /*must_be_pair=*/false);
        return;
      case ChangeKind::kFull:
        break;
    }
    if (!has("diff") && !has("bias")) require({"diff"});
    if (has("diff") && get("diff").dim() != 1 && !is_matrix(get("diff")) && !is_kernel(get("diff"))) {
      wrong("diff", "is no weight's; 1, 2 or 4 dimensions expected");
    }
  }

  void check_lora() const {
    require({"down", "up"});
    const auto down = get("down"), up = get("up"), mid = get("mid");
    for (const char* role : {"down", "up"}) {
      if (!is_matrix(get(role)) && !is_kernel(get(role))) wrong(role, "is no factor; 2 or 4 dimensions expected");
    }
    const int64_t rank = down.size(0);
    if (mid.defined()) {
      if (!is_kernel(mid) || mid.size(1) != rank)
        wrong("mid", lorikeet::str("does not go with the down factor's ", down.sizes()));
      if (width(up) != mid.size(0)) wrong("up", lorikeet::str("does not go with the middle factor's ", mid.sizes()));
    } else if (width(up) != rank) {
      wrong("up", lorikeet::str("does not go with the down factor's ", down.sizes()));
    }
    if (!is_pointwise(up)) wrong("up", "has a kernel of its own; the down factor's is the layer's");
    if (mid.defined() && !is_pointwise(down)) wrong("down", "has a kernel beside the middle factor's");
  }

  /// A few numbers in a file could otherwise ask for any amount of memory and time.
  void check_extent() const {
    const auto& first = parts_.parts.begin()->second;
    const auto columns = [&](const std::string& n) { return factor_columns("w" + n, "w" + n + "_b", "t" + n); };
    int64_t numbers = 0;
    switch (change_.kind) {
      case ChangeKind::kLora:
        numbers = bounded_product({outputs(), factor_columns("", "down", "mid")});
        break;
      case ChangeKind::kLoha:
        numbers = bounded_product({outputs(), columns("1")});
        break;
      case ChangeKind::kLokr:
        numbers = bounded_product({rows("1"), rows("2"), columns("1"), columns("2")});
        break;
      case ChangeKind::kFull:
        return;  // as it is in the file
    }
    for (const char* role : {"mid", "t1", "t2"}) {  // what is between a core and each of its sides
      if (!has(role)) continue;
      const auto core = get(role);
      const std::string n = role[0] == 'm' ? "" : std::string(1, role[1]);
      const int64_t inputs = n.empty() ? width(get("down")) : width(get("w" + n + "_b"));
      const int64_t results = n.empty() ? outputs() : rows(n);
      numbers = std::max({numbers, bounded_product({core.size(0), core.size(2), core.size(3), inputs}),
                          bounded_product({core.size(1), core.size(2), core.size(3), results})});
    }
    if (numbers <= kMostNumbers) return;
    reader_.fail(first.key, lorikeet::str("is of a layer with more than ", kMostNumbers,
                                          " numbers, which no layer of Stable Diffusion's has"));
  }

  /// Of a whole factor, or a pair's second half and the core between.
  int64_t factor_columns(const std::string& whole, const std::string& second, const std::string& core) const {
    if (has(whole.c_str())) return width(get(whole));
    const auto places = has(core.c_str()) ? get(core).size(2) * get(core).size(3) : 1;
    return bounded_product({width(get(second)), places});
  }

  /// LoHa's or LoKr's factor `n`: whole, a pair, or a pair with a core between.
  void check_product(const std::string& n, bool must_be_pair) const {
    const std::string whole = "w" + n, a = whole + "_a", b = whole + "_b", core = "t" + n;
    if (has(whole.c_str()) && !must_be_pair) {
      if (has(a.c_str()) || has(b.c_str()) || has(core.c_str())) wrong(whole, "is there beside its factors");
      if (!is_matrix(get(whole)) && !is_kernel(get(whole))) wrong(whole, "is no factor; 2 or 4 dimensions expected");
      return;
    }
    require({a.c_str(), b.c_str()});
    if (!is_matrix(get(a))) wrong(a, "is no factor; 2 dimensions expected");
    if (!is_matrix(get(b)) && (must_be_pair || !is_kernel(get(b)))) wrong(b, "is no factor; 2 dimensions expected");
    if (!has(core.c_str())) {
      if (get(a).size(1) != get(b).size(0))
        wrong(a, lorikeet::str("does not go with ", b, " of shape ", get(b).sizes()));
      return;
    }
    const auto t = get(core);
    if (!is_kernel(t) || !is_matrix(get(b)) || t.size(0) != get(a).size(0) || t.size(1) != get(b).size(0)) {
      wrong(core, lorikeet::str("does not go between ", a, " of shape ", get(a).sizes(), " and ", b, " of shape ",
                                get(b).sizes()));
    }
  }

  double strength(const StrengthRule& rule) const {
    if (const auto scale = parts_.parts.find("scale"); scale != parts_.parts.end()) {
      return reader_.number(scale->second.key, scale->second.tensor);
    }
    const int64_t rank = strength_rank();
    const auto found = parts_.parts.find("alpha");
    if (found == parts_.parts.end()) return rank == 0 ? 1 : rule(rank);
    const double alpha = reader_.number(found->second.key, found->second.tensor);
    // kohya's trainers take an alpha of 0 for none.
    return rank == 0 || alpha == 0 ? 1 : alpha / static_cast<double>(rank);
  }

  /// 0: alpha means nothing. LoKr's of two whole factors is such, though LyCORIS writes one.
  int64_t strength_rank() const {
    for (const char* role : {"down", "w1_b", "w2_b"}) {
      if (has(role)) return get(role).size(0);
    }
    return 0;
  }

  int64_t rows(const std::string& n) const {
    if (has(("w" + n).c_str())) return get("w" + n).size(0);
    return get("w" + n + "_a").size(has(("t" + n).c_str()) ? 1 : 0);
  }

  int64_t outputs() const {
    switch (change_.kind) {
      case ChangeKind::kLora:
        return get("up").size(0);
      case ChangeKind::kLoha:
        return rows("1");
      case ChangeKind::kLokr:
        return rows("1") * rows("2");
      case ChangeKind::kFull:
        break;
    }
    return has("diff") ? get("diff").size(0) : 0;
  }

  /// DoRA's lengths, per output or per input, in a shape that goes with the weight's.
  void set_magnitude() {
    const char* const role = has("peft_magnitude") ? "peft_magnitude" : "magnitude";
    if (!has(role)) return;
    if (has("peft_magnitude") && has("magnitude")) wrong("magnitude", "is there beside PEFT's");
    if (change_.kind == ChangeKind::kFull && !has("diff")) require({"diff"});
    change_.scales_inside = has("peft_magnitude");
    auto lengths = get(role);
    const int64_t count = lengths.numel();
    const bool is_per_output =
        count == outputs() && (change_.scales_inside || lengths.dim() < 2 || lengths.size(0) == count);
    const bool is_per_input = !is_per_output && lengths.dim() >= 2 && lengths.size(0) == 1 && lengths.size(1) == count;
    if (!is_per_output && !is_per_input) {
      wrong(role, lorikeet::str("is neither one length per output, of ", outputs(), ", nor per input of the layer"));
    }
    // PEFT keeps [out], and [1, out, 1, 1] for a convolution.
    if (is_per_output && (change_.scales_inside || lengths.dim() < 2)) {
      const bool is_convolution = is_kernel(get("down").defined() ? get("down") : lengths);
      lengths = is_convolution ? lengths.reshape({count, 1, 1, 1}) : lengths.reshape({count, 1});
    }
    change_.factors.erase("peft_magnitude");
    change_.factors["magnitude"] = lengths;
  }

  const LayerParts& parts_;
  FactorReader& reader_;
  LayerChange change_;
};

}  // namespace

void LayerParts::add(const std::string& key, const FactorName& factor, const torch::Tensor& tensor,
                     const FactorReader& reader) {
  if (factor.kind) {
    if (kind && *kind != *factor.kind) {
      reader.fail(key, lorikeet::str("is of a ", kind_name(*factor.kind), ", but its layer is changed by a ",
                                     kind_name(*kind)));
    }
    kind = factor.kind;
  }
  const auto [there, is_new] = parts.emplace(factor.role, Part{key, tensor});
  if (!is_new) reader.fail(key, lorikeet::str("is the same factor as ", quoted_tensor_name(there->second.key)));
  if (parts.size() == 1 || factor.kind) dialect = factor.dialect;
}

bool LayerParts::is_empty() const {
  for (const auto& [role, part] : parts) {
    if (role != "alpha" && role != "scale") return false;
  }
  return true;
}

LayerChange assemble_layer(const std::string& path, const LayerParts& parts, const StrengthRule& rule,
                           FactorReader& reader) {
  return Assembly(path, parts, reader).finish(rule);
}

int64_t change_inputs(const LayerChange& change) {
  const auto columns = [&](const std::string& n) -> int64_t {
    const auto whole = change.get("w" + n), b = change.get("w" + n + "_b");
    if (whole.defined()) return whole.size(1);
    return b.defined() ? b.size(1) : 0;
  };
  switch (change.kind) {
    case ChangeKind::kLora:
      return change.get("down").size(1);
    case ChangeKind::kLoha:
      return columns("1");
    case ChangeKind::kLokr:
      return columns("1") * columns("2");
    case ChangeKind::kFull:
      break;
  }
  const auto diff = change.get("diff");
  return diff.defined() && diff.dim() >= 2 ? diff.size(1) : 0;
}

}  // namespace lorikeet
