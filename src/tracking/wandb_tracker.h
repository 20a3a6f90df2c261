#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "tracking/tracker.h"

namespace lorikeet {

struct WandbOptions {
  std::filesystem::path folder;  // the run's logs; WANDB_DIR overrides where the run's own folder is made
  std::string project;           // "text2image-fine-tune", "dreambooth-lora"; WANDB_PROJECT overrides
  int64_t first_step = 0;        // above 0 for a resumed run: the step it was resumed at
  std::chrono::milliseconds sync_time_limit{600'000};
};

/// A run of Weights & Biases, written in the format of its own offline mode, without its program:
/// wandb/offline-run-TIME-ID/{run-ID.wandb, files/media/images/...}. Scalars logged at the same step become one row, as
/// with the official client, and so do pictures; their step is that row's, whatever the caller counts by. What is
/// logged for a step before the current one is left out. The options are the config, without secrets.
///
/// finish() hands the run to the official program (`wandb sync`) unless WANDB_MODE is offline. Without finish() the run
/// has no end: the program uploads it as failed.
///
/// A resumed run keeps its id (FOLDER/wandb-run.txt) and continues in a folder of its own. What an earlier part holds
/// behind `first_step` is cut off, unless it has been uploaded already; then those steps are not logged again.
///
/// Respects the variables of read_wandb_settings(), and throws as it does. WANDB_MODE=disabled: nothing is written.
std::unique_ptr<Tracker> make_wandb_tracker(WandbOptions options);

}  // namespace lorikeet
