// `lorikeet train dreambooth`.
#pragma once

#include "training/train_dreambooth_options.h"

namespace lorikeet {

/// Trains with progress bars, or prints the plan for --dry_run. Throws what train_dreambooth throws.
void train_dreambooth_command(const TrainDreamboothOptions& options);

}  // namespace lorikeet
