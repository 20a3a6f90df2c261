// Keeping the predicted clean sample in range.
#pragma once

#include <torch/types.h>

namespace lorikeet {

class SchedulerConfigReader;

struct SampleClipping {
  /// Reads clip_sample (if the class has it), thresholding and what belongs to them.
  static SampleClipping read(const SchedulerConfigReader& config, bool has_clip_sample);

  /// Dynamic thresholding (Saharia et al., arXiv:2205.11487, section 2.3) or plain clipping of x0 [B, ...], or neither.
  torch::Tensor apply(const torch::Tensor& x0) const;

  bool clip_sample = false;
  double clip_sample_range = 1;
  bool thresholding = false;
  double dynamic_thresholding_ratio = 0.995;
  double sample_max_value = 1;
};

}  // namespace lorikeet
