// One DreamBooth micro-step's loss: from pictures and prompts to a number to learn from.
#pragma once

#include <torch/types.h>

#include "training/dreambooth_models.h"
#include "training/input_memory.h"

namespace lorikeet {

/// Draws noise and timesteps, lets the UNet predict, compares. The draws are the script's, in its order: latents
/// [B,C,h,w], noise, timesteps, then dropout masks.
class DreamboothLoss {
 public:
  /// Encodes the prompts; a text encoder that does not train is not asked again. `classes` may be null; all must
  /// outlive this.
  DreamboothLoss(DreamboothModels& models, const TrainDreamboothOptions& options, const TrainingPrecision& precision,
                 TrainingGenerators& generators, PictureFolder& instances, PictureFolder* classes);

  /// A float32 scalar; with prior preservation the instances' loss plus prior_loss_weight times the class pictures'.
  torch::Tensor operator()(const PictureBatch& batch);

 private:
  struct Prompt {
    torch::Tensor ids, mask;   // [1, T]
    torch::Tensor embeddings;  // [1, T, D], unless the text encoder trains
  };
  Prompt prepare(const std::string& text);
  torch::Tensor encode(const torch::Tensor& ids, const torch::Tensor& mask);
  torch::Tensor embeddings(const PictureBatch& batch);

  DreamboothModels& models_;
  const TrainDreamboothOptions& options_;
  const TrainingPrecision& precision_;
  TrainingGenerators& generators_;
  LatentMemory latents_;
  Prompt instance_, class_;
};

}  // namespace lorikeet
