#include "lora/compare.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/errors.h"
#include "core/text.h"
#include "lora/change_matrix.h"

namespace lorikeet {
namespace {

using Layers = std::map<std::string, std::pair<const LayerChange*, const LayerChange*>>;

Layers layers_by_path(const std::vector<LayerChange>& a, const std::vector<LayerChange>& b) {
  Layers layers;
  for (const auto& change : a) layers[change.path].first = &change;
  for (const auto& change : b) layers[change.path].second = &change;
  return layers;
}

/// Equal bit for bit: then rounding must not make a distance.
bool same_factors(const LayerChange& a, const LayerChange& b) {
  return a.kind == b.kind && a.strength == b.strength &&
         std::ranges::equal(a.factors, b.factors, [](const auto& x, const auto& y) {
           return x.first == y.first && x.second.scalar_type() == y.second.scalar_type() &&
                  torch::equal(x.second, y.second);
         });
}

ChangeDistance weight_distance(const LayerChange* a, const LayerChange* b) {
  ChangeDistance result;
  ChangeMatrix difference;
  if (a) {
    difference = change_matrix(*a);
    result.norm_a = change_norm(difference);
  }
  if (b) {
    const auto negative = change_matrix(*b, -1);
    result.norm_b = change_norm(negative);
    add_change(difference, negative, b->path);
  }
  result.difference = a && b && same_factors(*a, *b) ? 0 : change_norm(difference);
  return result;
}

/// Of a bias or of DoRA's lengths, where either has them.
std::optional<ChangeDistance> vector_distance(const LayerChange& a, const LayerChange& b, const char* role) {
  if (!a.has(role) && !b.has(role)) return std::nullopt;
  ChangeDistance result;
  const auto of_a = a.has(role) ? a.get(role).flatten().to(torch::kDouble) : torch::Tensor();
  const auto of_b = b.has(role) ? b.get(role).flatten().to(torch::kDouble) : torch::Tensor();
  if (of_a.defined() && of_b.defined() && of_a.numel() != of_b.numel()) {
    throw FormatError(lorikeet::str("the LoRAs have ", of_a.numel(), " and ", of_b.numel(), " numbers for the ", role,
                                    " of ", a.path));
  }
  if (of_a.defined()) result.norm_a = frobenius_norm(of_a);
  if (of_b.defined()) result.norm_b = frobenius_norm(of_b);
  result.difference = of_a.defined() && of_b.defined() ? frobenius_norm(of_a - of_b) : result.norm_a + result.norm_b;
  return result;
}

void compare_words(const LoraFile& a, const LoraFile& b, CompareReport& report) {
  std::map<std::string, torch::Tensor> words;
  for (const auto& [word, vectors] : a.words) words[word] = vectors;
  for (const auto& [word, vectors] : b.words) {
    const auto found = words.find(word);
    if (found == words.end()) {
      report.words_only_in_b.push_back(word);
      continue;
    }
    if (!torch::equal(found->second, vectors)) report.words_different.push_back(word);
    words.erase(found);
  }
  for (const auto& [word, vectors] : words) report.words_only_in_a.push_back(word);
}

/// Adds squares; the caller takes the roots.
void add_squares(const ChangeDistance& layer, ChangeDistance& sum) {
  sum.norm_a += layer.norm_a * layer.norm_a;
  sum.norm_b += layer.norm_b * layer.norm_b;
  sum.difference += layer.difference * layer.difference;
}

std::vector<std::string> names_where(const CompareReport& report, bool in_a, bool in_b) {
  std::vector<std::string> names;
  for (const auto& layer : report.layers) {
    if (layer.in_a == in_a && layer.in_b == in_b) names.push_back(layer.part + "." + layer.path);
  }
  return names;
}

}  // namespace

double ChangeDistance::distance() const {
  const double norm = std::max(norm_a, norm_b);
  return norm == 0 ? 0 : difference / norm;
}

double ChangeDistance::cosine() const {
  if (norm_a == 0 || norm_b == 0) return 0;
  // 2 <a, b> = |a|² + |b|² - |a - b|²; in quotients, so that small norms do not vanish in the squares.
  const double ratio = norm_a / norm_b, apart = difference / norm_a * (difference / norm_b);
  return std::clamp((ratio + 1 / ratio - apart) / 2, -1.0, 1.0);
}

std::vector<std::string> CompareReport::only_in_a() const { return names_where(*this, true, false); }
std::vector<std::string> CompareReport::only_in_b() const { return names_where(*this, false, true); }

CompareReport compare_loras(const LoraFile& a, const LoraFile& b, const LayerProgress& progress) {
  torch::NoGradGuard no_grad;
  CompareReport report;
  std::vector<std::pair<const char*, Layers>> parts;
  int64_t done = 0, total = 0;
  for (const auto& part : kLoraParts) {
    parts.emplace_back(part.name, layers_by_path(a.*part.layers, b.*part.layers));
    total += static_cast<int64_t>(parts.back().second.size());
  }
  for (const auto& [part, layers] : parts) {
    for (const auto& [path, pair] : layers) {
      const auto [of_a, of_b] = pair;
      auto& layer =
          report.layers.emplace_back(LayerComparison{part, path, of_a != nullptr, of_b != nullptr, {}, {}, {}});
      layer.weight = weight_distance(of_a, of_b);
      if (of_a && of_b) {
        layer.bias = vector_distance(*of_a, *of_b, "bias");
        layer.magnitude = vector_distance(*of_a, *of_b, "magnitude");
      }
      add_squares(layer.weight, report.weights);
      report_progress(progress, ++done, total);
    }
  }
  auto& all = report.weights;
  all = {std::sqrt(all.norm_a), std::sqrt(all.norm_b), std::sqrt(all.difference)};
  compare_words(a, b, report);
  return report;
}

}  // namespace lorikeet
