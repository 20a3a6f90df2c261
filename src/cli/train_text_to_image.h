// `lorikeet train text-to-image`.
#pragma once

#include "training/train_text_to_image_options.h"

namespace lorikeet {

/// Trains with progress bars, or prints the report on the data set and the plan for --dry_run. Throws what
/// train_text_to_image throws.
void train_text_to_image_command(const TrainTextToImageOptions& options);

}  // namespace lorikeet
