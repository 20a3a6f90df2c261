#include "training/validation.h"

#include <sstream>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/text.h"
#include "engine/random.h"

namespace lorikeet {
namespace {

constexpr size_t kLargestPromptFile = size_t{1} << 20;

}  // namespace

std::vector<std::string> validation_prompts(const TrainOptions& options) {
  std::vector<std::string> prompts;
  if (options.validation_prompt) prompts.push_back(*options.validation_prompt);
  if (!options.validation_prompts) return prompts;
  std::istringstream lines(read_file(*options.validation_prompts, kLargestPromptFile));
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.find_first_not_of(" \t") != std::string::npos) prompts.push_back(line);
  }
  if (prompts.empty()) {
    throw FileError(str("there is no prompt in --validation_prompts=", *options.validation_prompts),
                    "write one prompt a line");
  }
  return prompts;
}

Validator::Validator(TrainingModels& models, const TrainOptions& options, const TrainingPrecision& precision,
                     std::optional<std::string> scheduler)
    : models_(models), options_(options), precision_(precision), scheduler_(std::move(scheduler)) {
  torch::NoGradGuard no_grad;
  for (const auto& prompt : validation_prompts(options)) {
    PictureRequest request;
    request.prompts = {prompt};
    request.height = request.width = options.resolution;
    if (!options.train_text_encoder) request.embeddings = encode_prompts(models.parts, request);
    requests_.push_back(std::move(request));
  }
}

Validator::Drawn Validator::draw(int64_t steps, TrainingObserver& observer) {
  AutocastScope autocast(precision_.autocast);
  Drawn drawn;
  const auto scheduler = make_pipeline_scheduler(models_.parts.scheduler_config, scheduler_);
  auto generator = make_generator(run_seed(options_), precision_.device);
  const auto pictures = static_cast<int64_t>(requests_.size()) * options_.num_validation_images;
  for (auto request : requests_) {
    request.num_inference_steps = steps;
    if (!request.embeddings.positive.defined()) {
      request.embeddings = encode_prompts(models_.parts, request);
      request.embeddings.positive = request.embeddings.positive.to(precision_.weights);
      request.embeddings.negative = request.embeddings.negative.to(precision_.weights);
    }
    // A request to stop ends this between two pictures, so that the run can still write its checkpoint.
    for (int64_t i = 0; i < options_.num_validation_images && !observer.stop_requested(); ++i) {
      const auto done = static_cast<int64_t>(drawn.images.size());
      request.callback = [&](int64_t step, int64_t, const torch::Tensor&) {
        observer.on_work("Validation", done * steps + step, pictures * steps);
        return true;
      };
      drawn.images.push_back(generate_images(models_.parts, *scheduler, request, generator).at(0));
      drawn.prompts.push_back(request.prompts.front());
    }
  }
  return drawn;
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
