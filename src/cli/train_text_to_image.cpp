#include "cli/train_text_to_image.h"

#include <iostream>

#include "cli/command_line.h"
#include "cli/preflight_text.h"
#include "cli/training_observer.h"
#include "cli/training_push.h"
#include "core/log.h"
#include "core/text.h"
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

TrainingStory story(const TrainTextToImageOptions& given) {
  const std::string data = given.dataset_name ? "the data set " + *given.dataset_name : "captioned pictures";
  return {.title = "LoRA text2image fine-tuning",
          .trained_on = data,
          .instance_prompt = {},
          .tags = {"stable-diffusion", "stable-diffusion-diffusers", "text-to-image", "diffusers", "diffusers-training",
                   "lora"},
          .command = command_line("train text-to-image", given)};
}

}  // namespace

void train_text_to_image_command(const TrainTextToImageOptions& given) {
  TrainTextToImageOptions options = given;
  apply_environment(options);
  std::optional<TrainingPush> push;
  if (options.push_to_hub) {
    validate(options);  // what is wrong with the flags comes before what the Hub says
    push.emplace(options);
  }
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
  const auto open_repository = [&] {
    if (push) push->open();
  };
  const auto result =
      run_training([&](TrainingObserver& observer) { return train_text_to_image(options, observer); }, open_repository);
  if (push) log_info("On the Hub: " + push->push(story(given), result.validation_images));
}

}  // namespace lorikeet
