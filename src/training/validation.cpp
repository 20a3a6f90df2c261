#include "training/validation.h"

#include "core/errors.h"
#include "core/text.h"
#include "engine/random.h"

namespace lorikeet {
namespace {

/// Evaluation mode while it lives: no gradients, no dropout, training's precision.
class EvaluationScope {
 public:
  EvaluationScope(DreamboothModels& models, const TrainingPrecision& precision)
      : models_(models), autocast_(precision.autocast) {
    set_training(models_, false);
  }
  ~EvaluationScope() { set_training(models_, true); }
  EvaluationScope(const EvaluationScope&) = delete;
  EvaluationScope& operator=(const EvaluationScope&) = delete;

 private:
  DreamboothModels& models_;
  torch::NoGradGuard no_grad_;
  AutocastScope autocast_;
};

}  // namespace

Validator::Validator(DreamboothModels& models, const TrainDreamboothOptions& options,
                     const TrainingPrecision& precision)
    : models_(models), options_(options), precision_(precision) {
  if (!options.validation_prompt) return;
  request_.prompts = {*options.validation_prompt};
  request_.height = request_.width = options.resolution;
  torch::NoGradGuard no_grad;
  if (!options.train_text_encoder) request_.embeddings = encode_prompts(models.parts, request_);
}

std::vector<Image> Validator::draw(int64_t steps, TrainingObserver& observer) {
  EvaluationScope evaluation(models_, precision_);
  auto request = request_;
  request.num_inference_steps = steps;
  if (!request.embeddings.positive.defined()) {
    request.embeddings = encode_prompts(models_.parts, request);
    request.embeddings.positive = request.embeddings.positive.to(precision_.weights);
    request.embeddings.negative = request.embeddings.negative.to(precision_.weights);
  }
  const auto scheduler = make_pipeline_scheduler(models_.parts.scheduler_config, "dpmsolver++");
  auto generator = make_generator(run_seed(options_), precision_.device);
  std::vector<Image> images;
  const int64_t total = options_.num_validation_images * steps;
  // A request to stop ends this between two pictures, so that the run can still write its checkpoint.
  for (int64_t i = 0; i < options_.num_validation_images && !observer.stop_requested(); ++i) {
    request.callback = [&](int64_t step, int64_t, const torch::Tensor&) {
      observer.on_work("Validation", i * steps + step, total);
      return true;
    };
    images.push_back(generate_images(models_.parts, *scheduler, request, generator).at(0));
  }
  return images;
}

std::vector<std::filesystem::path> save_validation_images(const std::filesystem::path& folder,
                                                          const std::vector<Image>& images) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw FileError(str("cannot create ", folder.string(), ": ", error.message()));
  std::vector<std::filesystem::path> paths;
  for (size_t i = 0; i < images.size(); ++i) {
    paths.push_back(folder / str("image_", i, ".png"));
    write_image(paths.back(), images[i]);
  }
  return paths;
}

}  // namespace lorikeet
