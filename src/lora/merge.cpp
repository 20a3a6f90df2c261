#include "lora/merge.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "core/errors.h"
#include "core/text.h"
#include "lora/change_matrix.h"

namespace lorikeet {
namespace {

/// One file's change of a layer.
struct Share {
  const LayerChange* change;
  const WeightedLora* lora;
};
using Shares = std::vector<Share>;

std::string name_of(const WeightedLora& lora) { return lora.name.empty() ? "a LoRA" : lora.name; }

std::vector<const WeightedLora*> contributors(const std::vector<WeightedLora>& loras) {
  std::vector<const WeightedLora*> result;
  for (const auto& lora : loras) {
    if (!std::isfinite(lora.weight)) {
      throw UsageError(
          lorikeet::str("the weight of ", name_of(lora), " is ", lora.weight, ", expected a finite number"));
    }
    if (lora.weight != 0) result.push_back(&lora);
  }
  if (result.empty()) throw UsageError("there is nothing to merge: no LoRA with a weight other than 0");
  const auto* first = result.front();
  for (const auto* lora : result) {
    if (lora->file.unet.empty() || first->file.unet.empty() || lora->file.is_sdxl == first->file.is_sdxl) continue;
    throw FormatError(lorikeet::str(name_of(*first), " and ", name_of(*lora),
                                    " are made for different base models: one of them is for SDXL"));
  }
  return result;
}

std::map<std::string, Shares> shares_by_path(const std::vector<const WeightedLora*>& loras, const LoraPart& part) {
  std::map<std::string, Shares> shares;
  for (const auto* lora : loras) {
    for (const auto& change : lora->file.*part.layers) {
      if (change.is_dora()) {
        throw FormatError(lorikeet::str(name_of(*lora), " has DoRA's lengths for ", part.name, ".", change.path,
                                        ", which cannot be added without the weights they belong to"),
                          "fuse each LoRA into its base model (lora fuse), then take the sum out (lora extract)");
      }
      shares[change.path].push_back({&change, lora});
    }
  }
  return shares;
}

torch::Tensor summed_bias(const Shares& shares, const std::string& path) {
  torch::Tensor sum;
  for (const auto& [change, lora] : shares) {
    if (!change->has("bias")) continue;
    const auto bias = change->get("bias").flatten().to(torch::kFloat) * lora->weight;
    if (sum.defined() && sum.numel() != bias.numel()) {
      throw FormatError(lorikeet::str("the LoRAs change ", sum.numel(), " and ", bias.numel(), " biases of ", path),
                        "they are made for different base models");
    }
    sum = sum.defined() ? sum + bias : bias;
  }
  return sum;
}

LayerChange whole_change(const std::string& path, const ChangeMatrix& sum) {
  LayerChange change;
  change.path = path;
  change.kind = ChangeKind::kFull;
  if (!sum.shape.empty()) change.factors["diff"] = dense_change(sum);
  return change;
}

LayerChange concatenated(const std::string& path, const Shares& shares, const ChangeMatrix& sum) {
  if (!sum.shape.empty() && sum.is_product()) return lora_change(path, sum.up, sum.down, sum.shape);
  const bool has_whole =
      std::ranges::any_of(shares, [](const Share& s) { return s.change->kind == ChangeKind::kFull; });
  if (!has_whole) {
    const auto expanded =
        std::ranges::find_if(shares, [](const Share& s) { return s.change->kind != ChangeKind::kLora; });
    throw FormatError(lorikeet::str(name_of(*expanded->lora), "'s ", kind_name(expanded->change->kind), " of rank ",
                                    change_rank(*expanded->change), " for ", path,
                                    " makes a change of full rank, which no exact LoRA of lower rank holds"),
                      "merge with --method=svd and a --rank");
  }
  return whole_change(path, sum);
}

/// Makes a layer of a sum; `part` and the sum's options are the caller's.
using LayerMaker =
    std::function<LayerChange(const LoraPart&, const std::string& path, const Shares&, const ChangeMatrix&)>;

std::vector<LearnedWord> united_words(const std::vector<const WeightedLora*>& loras) {
  std::map<std::string, torch::Tensor> words;
  for (const auto* lora : loras) {
    for (const auto& [word, vectors] : lora->file.words) {
      const auto [place, is_new] = words.emplace(word, vectors);
      if (is_new || torch::equal(place->second, vectors)) continue;
      throw FormatError(
          lorikeet::str("the word ", word, " has other vectors in ", name_of(*lora), " than in a file before"),
          "one prompt cannot mean both; leave one of the files out");
    }
  }
  std::vector<LearnedWord> result;
  for (const auto& [word, vectors] : words) result.push_back({word, vectors});
  return result;
}

/// What all files say alike, and what they were.
std::map<std::string, std::string> merged_metadata(const std::vector<const WeightedLora*>& loras, const char* method) {
  auto metadata = lasting_metadata(loras.front()->file);
  auto sources = nlohmann::json::array();
  for (const auto* lora : loras) {
    const auto& own = lora->file.metadata;
    std::erase_if(metadata, [&](const auto& entry) {
      const auto found = own.find(entry.first);
      return found == own.end() || found->second != entry.second;
    });
    sources.push_back({{"name", lora->name}, {"weight", lora->weight}});
  }
  metadata[kMergedFromKey] = sources.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  metadata[kMergeMethodKey] = method;
  return metadata;
}

LoraFile merge(const std::vector<const WeightedLora*>& loras, const LayerMaker& make, const LayerProgress& progress) {
  torch::NoGradGuard no_grad;
  LoraFile file;
  file.words = united_words(loras);
  std::vector<std::pair<const LoraPart*, std::map<std::string, Shares>>> parts;
  int64_t done = 0, total = 0;
  for (const auto& part : kLoraParts) {
    total += static_cast<int64_t>(parts.emplace_back(&part, shares_by_path(loras, part)).second.size());
  }
  for (const auto& [part, layers] : parts) {
    for (const auto& [path, shares] : layers) {
      ChangeMatrix sum;
      for (const auto& [change, lora] : shares) add_change(sum, change_matrix(*change, lora->weight), path);
      auto layer = make(*part, path, shares, sum);
      if (const auto bias = summed_bias(shares, path); bias.defined()) layer.factors["bias"] = bias;
      (file.*part->layers).push_back(std::move(layer));
      report_progress(progress, ++done, total);
    }
  }
  for (const auto* lora : loras) file.is_sdxl |= lora->file.is_sdxl;
  return file;
}

}  // namespace

MergedLora merge_concat(const std::vector<WeightedLora>& loras, const LayerProgress& progress) {
  const auto files = contributors(loras);
  MergedLora merged;
  merged.file = merge(
      files,
      [](const LoraPart&, const std::string& path, const Shares& shares, const ChangeMatrix& sum) {
        return concatenated(path, shares, sum);
      },
      progress);
  merged.file.metadata = merged_metadata(files, "concat");
  return merged;
}

MergedLora merge_svd(const std::vector<WeightedLora>& loras, const TruncateOptions& options,
                     const LayerProgress& progress) {
  check_truncation(options);
  const auto files = contributors(loras);
  MergedLora merged;
  merged.file = merge(
      files,
      [&](const LoraPart& part, const std::string& path, const Shares&, const ChangeMatrix& sum) {
        if (!sum.has_rank()) {
          merged.report.kept_whole.push_back(std::string(part.name) + "." + path);
          return whole_change(path, sum);
        }
        const auto truncation = truncate_change(sum, options);
        merged.report.add(part.name, path, truncation);
        return lora_change(path, truncation.up, truncation.down, sum.shape);
      },
      progress);
  merged.file.metadata = merged_metadata(files, "svd");
  return merged;
}

}  // namespace lorikeet
