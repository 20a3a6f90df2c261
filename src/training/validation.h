// Pictures of the validation prompt, drawn by the model as it is now.
#pragma once

#include <filesystem>
#include <vector>

#include "pipelines/denoise.h"
#include "training/dreambooth_models.h"
#include "training/observer.h"

namespace lorikeet {

class Validator {
 public:
  /// When the text encoder does not train, the prompt is encoded here, once.
  Validator(DreamboothModels& models, const TrainDreamboothOptions& options, const TrainingPrecision& precision);

  /// num_validation_images pictures at the training resolution, from the resident models and one generator seeded with
  /// --seed: the run's own random state is not touched. DPM-Solver++, `steps` steps, guidance 7.5.
  std::vector<Image> draw(int64_t steps, TrainingObserver& observer);

 private:
  DreamboothModels& models_;
  const TrainDreamboothOptions& options_;
  const TrainingPrecision& precision_;
  PictureRequest request_;  // with embeddings, unless the text encoder trains
};

/// Saves the pictures as FOLDER/image_0.png ...
std::vector<std::filesystem::path> save_validation_images(const std::filesystem::path& folder,
                                                          const std::vector<Image>& images);

}  // namespace lorikeet
