#pragma once

#include <string>

namespace lorikeet {

/// The trackers that --report_to names.
struct TrackerNames {
  bool tensorboard = false;
  bool wandb = false;
  bool jsonl = false;
};

/// Reads "tensorboard", "wandb", "jsonl", several by comma, "all" (these three) or "none". Throws UsageError for
/// others, with the nearest name as a hint; for those that only accelerate knows ("comet_ml"), with what there is
/// instead.
TrackerNames parse_report_to(const std::string& text);

}  // namespace lorikeet
