#include "cli/train_dreambooth.h"

#include <iostream>

#include "cli/training_observer.h"
#include "training/train_dreambooth.h"

namespace lorikeet {

void train_dreambooth_command(const TrainDreamboothOptions& given) {
  TrainDreamboothOptions options = given;
  apply_environment(options);
  if (options.dry_run) {
    std::cout << plan_text(plan_dreambooth(options));
    return;
  }
  run_training([&](TrainingObserver& observer) { return train_dreambooth(options, observer); });
}

}  // namespace lorikeet
