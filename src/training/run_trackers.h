// The trackers of a run: the JSONL log, and what --report_to names.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/image.h"
#include "training/train_options.h"

namespace lorikeet {

class Tracker;

/// Throws UsageError for what --report_to names, and for what the environment says about it.
void check_trackers(const TrainOptions& options);

class RunTrackers {
 public:
  /// Opens OUTPUT/LOGS/NAME.jsonl, and what --report_to names beside it. `first_step` is above 0 for a resumed run,
  /// whose log goes on behind its first `logged` records. What the program says from here on is kept where a tracker
  /// keeps it.
  RunTrackers(const TrainOptions& options, const std::string& name, const std::string& options_json, int64_t first_step,
              int64_t logged);
  ~RunTrackers();

  void log_scalars(const std::vector<std::pair<std::string, double>>& values, int64_t step);
  /// `step` counts epochs, as Diffusers' scripts have it, or steps; the pictures' captions are "NUMBER: PROMPT".
  void log_images(const std::string& tag, const std::vector<Image>& images, const std::vector<std::string>& prompts,
                  int64_t step);
  /// Records of values and pictures so far, those before a resume included.
  int64_t logged() const { return logged_; }
  /// The run is over, with the program's exit code.
  void finish(int exit_code);

 private:
  std::vector<std::unique_ptr<Tracker>> trackers_;
  int64_t logged_;
};

}  // namespace lorikeet
