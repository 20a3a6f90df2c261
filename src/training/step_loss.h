// One micro-step's loss: from a batch of pictures and captions to a number to learn from.
#pragma once

#include <torch/types.h>

#include <optional>

#include "training/latent_memory.h"
#include "training/text_memory.h"
#include "training/training_models.h"

namespace lorikeet {

/// Draws noise and timesteps, lets the UNet predict, compares. The draws are those of Diffusers' scripts, in their
/// order: latents [B,C,h,w], noise, offset noise, timesteps, then dropout masks; those of other options come between,
/// and only when they are on.
class StepLoss {
 public:
  /// `prior_loss_weight` is set with prior preservation: the second half of each batch are class pictures. All must
  /// outlive this.
  StepLoss(TrainingModels& models, const TrainOptions& options, const TrainingPrecision& precision,
           TrainingGenerators& generators, PictureSets& sets, std::optional<double> prior_loss_weight);

  /// A float32 scalar; with prior preservation the instances' loss plus prior_loss_weight times the class pictures'.
  torch::Tensor operator()(const PictureBatch& batch);
  /// The plain squared error of one picture's most likely latents with this noise at this timestep; draws nothing.
  double at(const PictureRef& picture, const torch::Tensor& noise, int64_t timestep);

  LatentMemory& latents() { return latents_; }
  TextMemory& texts() { return texts_; }

 private:
  torch::Tensor draw_noise(const torch::Tensor& latents);
  torch::Tensor predict(const torch::Tensor& noisy, const torch::Tensor& timesteps, const PictureBatch& batch);
  torch::Tensor target(const torch::Tensor& latents, const torch::Tensor& noise, const torch::Tensor& timesteps);
  torch::Tensor compare(const torch::Tensor& prediction, const torch::Tensor& target, const torch::Tensor& timesteps,
                        const torch::Tensor& mask);
  torch::Tensor masks(const PictureBatch& batch, const torch::Tensor& latents);
  bool velocity() const { return models_.noise_scheduler->prediction_type() == "v_prediction"; }

  TrainingModels& models_;
  const TrainOptions& options_;
  const TrainingPrecision& precision_;
  TrainingGenerators& generators_;
  PictureSets& sets_;
  std::optional<double> prior_loss_weight_;
  LatentMemory latents_;
  TextMemory texts_;
};

}  // namespace lorikeet
