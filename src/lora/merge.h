// Several LoRAs made into one.
#pragma once

#include <string>
#include <vector>

#include "lora/lora_parts.h"
#include "lora/truncation_report.h"

namespace lorikeet {

struct WeightedLora {
  LoraFile file;
  double weight = 1;
  std::string name = "";  // for messages and for the result's metadata
};

/// Metadata of a merged file: JSON [{"name": ..., "weight": ...}, ...] and "concat" or "svd".
inline constexpr const char* kMergedFromKey = "lorikeet.merged_from";
inline constexpr const char* kMergeMethodKey = "lorikeet.merge_method";

struct MergedLora {
  LoraFile file;            // strengths of 1
  TruncationReport report;  // empty after merge_concat
};

/// The sum of weight · change of every weight, exactly: ranks add. Each factor carries the root of its file's weight
/// and strength, up the sign. LoHa and LoKr become plain LoRA (see change_matrix.h); a layer that some file changes as
/// a whole (kFull) stays whole. Biases add; words are united, unweighted. A file of weight 0 counts as absent. Throws
/// UsageError: no files, no weight other than 0, a weight that is not finite. FormatError: DoRA, whose lengths do not
/// add; files for different base models; a word with different vectors; a LoHa whose r1·r2 is above its layer's smaller
/// side, with the hint to merge by SVD. Interrupted: see LayerProgress.
MergedLora merge_concat(const std::vector<WeightedLora>& loras, const LayerProgress& progress = {});

/// The same sum, each layer's change as its best approximation within `options`, norms' differences as they are.
/// Throws as merge_concat, but takes every LoHa; UsageError for options out of range, NumericError for numbers that are
/// not finite.
MergedLora merge_svd(const std::vector<WeightedLora>& loras, const TruncateOptions& options,
                     const LayerProgress& progress = {});

}  // namespace lorikeet
