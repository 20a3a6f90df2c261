#include "training/train_dreambooth.h"

#include <algorithm>

#include "core/log.h"
#include "core/text.h"
#include "data/dreambooth_loader.h"
#include "training/class_images.h"
#include "training/recipe.h"

namespace lorikeet {
namespace {

class DreamboothRecipe : public Recipe {
 public:
  explicit DreamboothRecipe(const TrainDreamboothOptions& options) : options_(options) {
    validate(options_);
    for (const auto& warning : warnings(options_)) log_warning(warning);
  }

  const TrainOptions& options() const override { return options_; }
  std::string options_json() const override {
    auto copy = options_;
    return fields(copy).to_json();
  }
  Manner manner() const override {
    Manner manner;
    manner.tracker = "dreambooth-lora";
    manner.logs_batches = true;
    manner.validation_scheduler = "dpmsolver++";
    return manner;
  }

  void open(RunContext& context) override;
  std::vector<std::string> prompts() const override {
    std::vector<std::string> prompts = {options_.instance_prompt};
    if (options_.with_prior_preservation) prompts.push_back(*options_.class_prompt);
    return prompts;
  }
  std::unique_ptr<Loader> make_loader(RunContext& context) override {
    return std::make_unique<DreamboothLoader>(
        context.sets, DreamboothLoader::Options{options_.train_batch_size, options_.center_crop, prompts()},
        context.generators.cpu);
  }
  std::optional<double> prior_loss_weight() const override {
    if (!options_.with_prior_preservation) return std::nullopt;
    return options_.prior_loss_weight;
  }
  std::string validation_caption(const PictureRecord&) const override { return options_.instance_prompt; }
  Inputs inputs(const RunContext& context, const Loader& loader) const override;
  void describe(const RunContext& context, TrainingPlan& plan) const override;
  int64_t examples(const RunContext& context, const Loader& loader) const override {
    // In a dry run those that are yet to be drawn included.
    return context.sets.size() == 1 && options_.with_prior_preservation
               ? std::max(loader.examples(), options_.num_class_images)
               : loader.examples();
  }

 private:
  void add_set(RunContext& context, const std::string& folder, int64_t limit = -1);

  const TrainDreamboothOptions& options_;
  std::vector<std::string> skipped_;
  int64_t class_images_to_generate_ = 0;
};

void DreamboothRecipe::add_set(RunContext& context, const std::string& folder, int64_t limit) {
  const PictureTransform transform{options_.resolution, parse_interpolation(options_.image_interpolation_mode)};
  context.sets.push_back(std::make_unique<PictureSet>(list_pictures(folder, skipped_, limit), transform));
  context.sets.back()->preload(options_.dataloader_num_workers);
  context.sets.back()->start_ahead(options_.dataloader_num_workers);
}

void DreamboothRecipe::open(RunContext& context) {
  add_set(context, options_.instance_data_dir);
  if (!options_.with_prior_preservation) return;
  const int64_t present = count_class_entries(*options_.class_data_dir);
  class_images_to_generate_ = std::max<int64_t>(0, options_.num_class_images - present);
  if (context.dry && class_images_to_generate_ > 0) return;
  generate_class_images(context.model, options_, context.precision, context.generators, context.observer);
  add_set(context, *options_.class_data_dir, options_.num_class_images);
}

Recipe::Inputs DreamboothRecipe::inputs(const RunContext& context, const Loader&) const {
  Inputs inputs;
  inputs.texts = prompts();
  for (size_t i = 0; i < context.sets.size(); ++i) {
    PictureSet& set = *context.sets[i];
    for (int64_t index = 0; index < set.size(); ++index) {
      const bool is_fixed = options_.center_crop || set.resized_extent(index) == set.target(index);
      if (!is_fixed) return {{}, inputs.texts};
      inputs.cuts.push_back({static_cast<int64_t>(i), index, set.center_crop(index), false, inputs.texts.at(i)});
    }
  }
  return inputs;
}

void DreamboothRecipe::describe(const RunContext& context, TrainingPlan& plan) const {
  plan.pictures = str(context.sets[0]->size(), " of the subject");
  plan.skipped = skipped_;
  if (!options_.with_prior_preservation) return;
  const int64_t classes = context.sets.size() > 1 ? context.sets[1]->size() : options_.num_class_images;
  plan.pictures += str(", ", classes, " of the class");
  if (class_images_to_generate_ > 0) plan.pictures += str(" (", class_images_to_generate_, " of them yet to be drawn)");
}

}  // namespace

TrainingPlan plan_dreambooth(const TrainDreamboothOptions& options) {
  TrainingObserver silent;
  DreamboothRecipe recipe(options);
  return plan_training(recipe, silent);
}

TrainResult train_dreambooth(const TrainDreamboothOptions& options, TrainingObserver& observer) {
  DreamboothRecipe recipe(options);
  return train(recipe, observer);
}

}  // namespace lorikeet
