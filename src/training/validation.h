// Pictures of the validation prompts, drawn by the model as it is now.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "pipelines/denoise.h"
#include "training/observer.h"
#include "training/training_models.h"

namespace lorikeet {

/// --validation_prompt, then the lines of --validation_prompts, blank ones left out. Throws FileError.
std::vector<std::string> validation_prompts(const TrainOptions& options);

class Validator {
 public:
  /// When the text encoder does not train, the prompts are encoded here, once. `scheduler` names the sampler (see
  /// make_pipeline_scheduler); unset takes the model's own.
  Validator(TrainingModels& models, const TrainOptions& options, const TrainingPrecision& precision,
            std::optional<std::string> scheduler);

  struct Drawn {
    std::vector<Image> images;
    std::vector<std::string> prompts;  // of each
  };
  /// num_validation_images pictures of each prompt at the training resolution, from the resident models and one
  /// generator seeded with --seed: the run's own random state is not touched. `steps` steps, guidance 7.5.
  Drawn draw(int64_t steps, TrainingObserver& observer);

 private:
  TrainingModels& models_;
  const TrainOptions& options_;
  const TrainingPrecision& precision_;
  std::optional<std::string> scheduler_;
  std::vector<PictureRequest> requests_;  // with embeddings, unless the text encoder trains
};

/// Saves the pictures as FOLDER/image_0.png ...
std::vector<std::filesystem::path> save_validation_images(const std::filesystem::path& folder,
                                                          const std::vector<Image>& images);

}  // namespace lorikeet
