#include "cli/train_dreambooth.h"

#include <iostream>

#include "cli/command_line.h"
#include "cli/training_observer.h"
#include "cli/training_push.h"
#include "core/log.h"
#include "core/text.h"
#include "training/train_dreambooth.h"

namespace lorikeet {
namespace {

TrainingStory story(const TrainDreamboothOptions& given) {
  return {
      .title = "LoRA DreamBooth",
      .trained_on = str("pictures of one subject with [DreamBooth](https://dreambooth.github.io/); its prompt is \"",
                        given.instance_prompt, "\""),
      .instance_prompt = given.instance_prompt,
      .tags = {"text-to-image", "diffusers", "lora", "diffusers-training", "stable-diffusion",
               "stable-diffusion-diffusers"},
      .command = command_line("train dreambooth", given)};
}

}  // namespace

void train_dreambooth_command(const TrainDreamboothOptions& given) {
  TrainDreamboothOptions options = given;
  apply_environment(options);
  std::optional<TrainingPush> push;
  if (options.push_to_hub) {
    validate(options);  // what is wrong with the flags comes before what the Hub says
    push.emplace(options);
  }
  if (options.dry_run) {
    std::cout << plan_text(plan_dreambooth(options));
    return;
  }
  const auto open_repository = [&] {
    if (push) push->open();
  };
  const auto result =
      run_training([&](TrainingObserver& observer) { return train_dreambooth(options, observer); }, open_repository);
  if (push) log_info("On the Hub: " + push->push(story(given), result.validation_images));
}

}  // namespace lorikeet
