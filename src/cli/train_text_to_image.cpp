#include "cli/train_text_to_image.h"

#include <iostream>

#include "cli/preflight_text.h"
#include "cli/training_observer.h"
#include "training/train_text_to_image.h"

namespace lorikeet {
namespace {

/// Bars while the pictures are checked; what was found goes to standard output.
class DryObserver : public TerminalObserver {
 public:
  void on_preflight(const PictureDataset& dataset, const PreflightReport& report) override {
    text = preflight_text(dataset, report);
  }
  std::string text;
};

}  // namespace

void train_text_to_image_command(const TrainTextToImageOptions& given) {
  TrainTextToImageOptions options = given;
  apply_environment(options);
  if (options.dry_run) {
    std::string text;
    {
      DryObserver observer;
      const auto plan = plan_text_to_image(options, observer);
      text = observer.text + plan_text(plan);
    }
    std::cout << text;
    return;
  }
  run_training([&](TrainingObserver& observer) { return train_text_to_image(options, observer); });
}

}  // namespace lorikeet
