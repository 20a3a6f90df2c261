// The trackers of a run: the JSONL log, and what --report_to names.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/image.h"
#include "training/train_dreambooth_options.h"

namespace lorikeet {

class Tracker;

class RunTrackers {
 public:
  /// Opens OUTPUT/LOGS/dreambooth-lora.jsonl, and event files when TensorBoard is asked for. `first_step` is above 0
  /// for a resumed run, whose log goes on.
  RunTrackers(const TrainDreamboothOptions& options, int64_t first_step);
  ~RunTrackers();

  void log_scalars(const std::vector<std::pair<std::string, double>>& values, int64_t step);
  /// `step` counts epochs, as Diffusers' script has it.
  void log_images(const std::string& tag, const std::vector<Image>& images, const std::string& prompt, int64_t step);
  void finish();

 private:
  std::vector<std::unique_ptr<Tracker>> trackers_;
};

}  // namespace lorikeet
