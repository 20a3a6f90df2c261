#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tracking/tracker.h"

namespace lorikeet {

/// Lays equally large PNG pictures out as one, eight in a row, without padding, black where the last row is short.
using GridMaker = std::function<std::string(const std::vector<std::string>& pngs)>;

/// TensorBoard event files in `folder`, with the tags and sub-folders that accelerate's TensorBoard tracker makes:
/// scalars by name, pictures as one grid per tag and step, the options as hyperparameters in two sub-runs named by the
/// time. `folder` is OUTPUT_DIR/LOGGING_DIR/TRACKER_NAME.
/// A run resumed at `first_step` > 0 adds a file that overrules what was logged after that step.
std::unique_ptr<Tracker> make_tensorboard_tracker(const std::filesystem::path& folder, GridMaker grid,
                                                  int64_t first_step = 0);

}  // namespace lorikeet
