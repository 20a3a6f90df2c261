// A LoRA out of the difference between a tuned model and its base.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/weights.h"
#include "lora/lora_parts.h"
#include "lora/truncation_report.h"

namespace lorikeet {

struct ExtractOptions {
  int64_t rank = 32;
  std::optional<int64_t> conv_rank;  // of convolutions beyond 1x1; unset: as `rank`
  double min_difference = 0;         // a tensor none of whose entries differs by more counts as unchanged
  bool keep_other =
      false;  // differences of biases and norms go into the file too, which then only kohya's dialect holds
};

/// Weights of one model before and after; both null: leave it out. Names are Diffusers' (transformers' for the text
/// encoder, with text_model. or without).
struct TunedModel {
  const WeightSource* tuned = nullptr;
  const WeightSource* base = nullptr;
};

/// A difference that has no low rank: of a bias, a norm or an embedding.
struct OtherDifference {
  std::string part, name;
  double norm = 0;
  bool kept = false;
};

struct ExtractReport {
  TruncationReport truncation;
  std::vector<OtherDifference> others;
  int64_t unchanged = 0;                                 // tensors
  std::vector<std::string> only_in_tuned, only_in_base;  // "unet.NAME"
  /// Of the squared difference of all tensors, 0 to 1: what `others` that are not kept hold.
  double left_out_share() const;
};

struct ExtractedLora {
  LoraFile file;
  ExtractReport report;
};

/// The best approximation of each Linear's and convolution's difference, computed in float32, by randomised SVD. A
/// tensor that is the other model's rounded to its own dtype counts as unchanged. Embeddings are always left out: a
/// LoRA has no place for them. Holds one layer's difference at a time, beside the result. Throws UsageError: options
/// out of range, a model without its base. FormatError naming the tensor: shapes that differ, values that are not
/// finite, no name in common, no difference at all. Interrupted: see LayerProgress, told by tensors.
ExtractedLora extract_lora(const TunedModel& unet, const TunedModel& text_encoder, const ExtractOptions& options = {},
                           const LayerProgress& progress = {});

}  // namespace lorikeet
