#include "training/trainer.h"

#include "training/training_run.h"

namespace lorikeet {

TrainingPlan plan_training(Recipe& recipe, TrainingObserver& observer) {
  return TrainingRun(recipe, observer, /*dry=*/true).plan();
}

TrainResult train(Recipe& recipe, TrainingObserver& observer) {
  TrainingRun run(recipe, observer, /*dry=*/false);
  observer.on_plan(run.plan());
  return run.train();
}

}  // namespace lorikeet
