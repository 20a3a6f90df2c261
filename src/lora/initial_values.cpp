#include "lora/initial_values.h"

#include <cmath>
#include <vector>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

/// What nn.Linear's and nn.Conv2d's constructors draw for a weight, which is also Kaiming's rule with a = sqrt(5).
torch::Tensor draw_uniform(at::IntArrayRef shape, torch::Generator& generator) {
  auto values = torch::empty(shape);
  const double bound = 1 / std::sqrt(static_cast<double>(values[0].numel()));
  return values.uniform_(-bound, bound, generator);
}

torch::Tensor draw_normal(at::IntArrayRef shape, double deviation, torch::Generator& generator) {
  return torch::empty(shape).normal_(0, deviation, generator);
}

std::vector<int64_t> down_shape(const torch::Tensor& weight, int64_t rank) {
  auto shape = weight.sizes().vec();
  shape[0] = rank;
  return shape;
}

std::vector<int64_t> up_shape(const torch::Tensor& weight, int64_t rank) {
  std::vector<int64_t> shape{weight.size(0), rank};
  if (weight.dim() == 4) shape.insert(shape.end(), {1, 1});
  return shape;
}

void make_pair(LayerChange& change, const torch::Tensor& weight, const InitialOptions& options,
               torch::Generator& generator) {
  const int64_t rank = options.rank;
  // Both constructors draw before the initial values are.
  auto down = draw_uniform(down_shape(weight, rank), generator);
  auto up = draw_uniform(up_shape(weight, rank), generator).zero_();
  if (options.algorithm == LoraAlgorithm::kLocon) {
    down = draw_uniform(down.sizes(), generator);
  } else {
    down.normal_(0, 1.0 / static_cast<double>(rank), generator);
  }
  change.factors = {{"down", down}, {"up", up}};
  if (options.algorithm != LoraAlgorithm::kDora) return;
  change.scales_inside = true;
  std::vector<int64_t> per_output(static_cast<size_t>(weight.dim()), 1);
  per_output[0] = weight.size(0);
  const auto whole = weight.detach().to(torch::kCPU, torch::kFloat);
  change.factors["magnitude"] = weight_lengths(whole, torch::empty(per_output));
}

void make_principal_pair(LayerChange& change, const torch::Tensor& weight, const InitialOptions& options,
                         torch::Generator& generator) {
  const int64_t rank = options.rank;
  const auto matrix = weight.detach().to(torch::kCPU, torch::kFloat).flatten(1);
  const int64_t most = std::min(matrix.size(0), matrix.size(1));
  if (rank > most) {
    throw UsageError(lorikeet::str("--algo=pissa takes at most ", most, " directions out of ", change.path,
                                   ", whose weight is ", weight.sizes(), ", and its rank is ", rank),
                     "give a lower --rank, or --rank_pattern for this layer");
  }
  draw_uniform(down_shape(weight, rank), generator);
  draw_uniform(up_shape(weight, rank), generator);
  const auto [u, s, vh] = torch::linalg_svd(matrix, /*full_matrices=*/false);
  const auto roots = (s.slice(0, 0, rank) / change.strength).sqrt();
  change.factors["down"] = (roots.unsqueeze(1) * vh.slice(0, 0, rank)).view(down_shape(weight, rank));
  change.factors["up"] = (u.slice(1, 0, rank) * roots).view(up_shape(weight, rank));
}

void make_hadamard(LayerChange& change, const torch::Tensor& weight, int64_t rank, torch::Generator& generator) {
  const int64_t outputs = weight.size(0), inputs = weight[0].numel();
  change.kind = ChangeKind::kLoha;
  change.factors["w1_b"] = draw_normal({rank, inputs}, 1, generator);
  change.factors["w1_a"] = draw_normal({outputs, rank}, 0.1, generator);
  change.factors["w2_b"] = draw_normal({rank, inputs}, 1, generator);
  change.factors["w2_a"] = torch::zeros({outputs, rank});
}

void make_kronecker(LayerChange& change, const torch::Tensor& weight, const InitialOptions& options,
                    torch::Generator& generator) {
  const auto [a, c] = kronecker_sizes(weight.size(0), options.lokr_factor);
  const auto [b, d] = kronecker_sizes(weight.size(1), options.lokr_factor);
  change.kind = ChangeKind::kLokr;
  if (2 * options.rank < std::max(c, d)) {
    change.factors["w2_a"] = draw_uniform({c, options.rank}, generator);
    change.factors["w2_b"] = torch::zeros({options.rank, d * weight[0][0].numel()});
  } else {
    auto shape = weight.sizes().vec();
    shape[0] = c;
    shape[1] = d;
    change.factors["w2"] = torch::zeros(shape);
    change.strength = 1;
  }
  change.factors["w1"] = draw_uniform({a, b}, generator);
}

}  // namespace

LoraAlgorithm parse_lora_algorithm(const std::string& name) {
  if (name == "lora") return LoraAlgorithm::kLora;
  if (name == "locon") return LoraAlgorithm::kLocon;
  if (name == "loha") return LoraAlgorithm::kLoha;
  if (name == "lokr") return LoraAlgorithm::kLokr;
  if (name == "dora") return LoraAlgorithm::kDora;
  if (name == "pissa") return LoraAlgorithm::kPissa;
  throw UsageError(lorikeet::str("--algo: one of lora, locon, loha, lokr, dora, pissa expected, found '", name, "'"));
}

std::pair<int64_t, int64_t> kronecker_sizes(int64_t dimension, int64_t factor) {
  if (factor > 0 && dimension % factor == 0) {
    return {std::min(factor, dimension / factor), std::max(factor, dimension / factor)};
  }
  // The largest divisor that is neither above the square root nor above the factor.
  int64_t smaller = 1;
  for (int64_t next = 2; next * next <= dimension && (factor < 0 || next <= factor); ++next) {
    if (dimension % next == 0) smaller = next;
  }
  return {smaller, dimension / smaller};
}

LayerChange initial_values(const std::string& path, const torch::Tensor& weight, const InitialOptions& options,
                           torch::Generator& generator) {
  torch::NoGradGuard no_grad;
  LayerChange change;
  change.path = path;
  const auto rank = static_cast<double>(options.rank);
  change.strength = options.alpha.value_or(rank) / (options.rank_stabilized ? std::sqrt(rank) : rank);
  switch (options.algorithm) {
    case LoraAlgorithm::kLora:
    case LoraAlgorithm::kLocon:
    case LoraAlgorithm::kDora:
      make_pair(change, weight, options, generator);
      break;
    case LoraAlgorithm::kLoha:
      make_hadamard(change, weight, options.rank, generator);
      break;
    case LoraAlgorithm::kLokr:
      make_kronecker(change, weight, options, generator);
      break;
    case LoraAlgorithm::kPissa:
      make_principal_pair(change, weight, options, generator);
      break;
  }
  return change;
}

}  // namespace lorikeet
