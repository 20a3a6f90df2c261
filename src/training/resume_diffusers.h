// Going on from a checkpoint that Diffusers' own scripts wrote.
#pragma once

#include <filesystem>

#include "training/run_state.h"

namespace lorikeet {

/// Takes over the LoRA, AdamW's moments, the schedule, the generators and the scaler of `folder` (a checkpoint-N), as
/// the script itself does when it resumes; `position.epoch` is the caller's to set.
/// Throws UsageError when these options train something else than the script did, or with another optimizer than AdamW;
/// FileError and FormatError naming the file; then the run is as it was.
void restore_diffusers_run(const RunParts& run, const TrainOptions& options, const std::filesystem::path& folder);

}  // namespace lorikeet
