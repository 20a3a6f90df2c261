#include "training/step_loss.h"

#include <cmath>

#include "core/text.h"
#include "engine/random.h"
#include "training/loss_weights.h"
#include "training/run_folders.h"

namespace lorikeet {
namespace {

/// Uniform numbers that only the coarser noise asks for: how much coarser each of its layers is.
double draw_unit(torch::Generator& generator) {
  return torch::rand({1}, generator, torch::TensorOptions(generator.device())).item<double>();
}

/// Adds layers of ever coarser noise, then brings the whole back to unit deviation.
/// Source: "multi-resolution noise", https://wandb.ai/johnowhitaker/multires_noise
torch::Tensor add_coarser(torch::Tensor noise, const TrainOptions& options, torch::Generator& generator) {
  const auto height = noise.size(2), width = noise.size(3);
  for (int64_t i = 0; i < options.multires_noise_iterations; ++i) {
    const double ratio = std::pow(draw_unit(generator) * 2 + 2, static_cast<double>(i));
    const auto high = std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(height) / ratio));
    const auto wide = std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(width) / ratio));
    const auto coarse = draw_normal({noise.size(0), noise.size(1), high, wide}, generator, noise.options());
    const auto enlarged = torch::upsample_bilinear2d(coarse, {height, width}, /*align_corners=*/false);
    noise = noise + enlarged * std::pow(options.multires_noise_discount, static_cast<double>(i));
    if (high == 1 || wide == 1) break;
  }
  return noise / noise.std();
}

LatentMemory::Options latent_options(const TrainOptions& options) {
  return {parse_encode_memory(options.encode_memory), encode_folder(options),
          lorikeet::str(options.resolution, " ", options.image_interpolation_mode)};
}

}  // namespace

StepLoss::StepLoss(TrainingModels& models, const TrainOptions& options, const TrainingPrecision& precision,
                   TrainingGenerators& generators, PictureSets& sets, std::optional<double> prior_loss_weight)
    : models_(models),
      options_(options),
      precision_(precision),
      generators_(generators),
      sets_(sets),
      prior_loss_weight_(prior_loss_weight),
      latents_(models.parts.vae, sets, latent_options(options)),
      texts_(models, options, precision, encode_folder(options)) {}

torch::Tensor StepLoss::draw_noise(const torch::Tensor& latents) {
  auto& generator = generators_.device;
  // torch.randn_like: in the latents' memory order, which for batches may be channels-last.
  auto noise = torch::empty_like(latents).normal_(0, 1, generator);
  if (options_.noise_offset != 0) {
    const auto offset = draw_normal({latents.size(0), latents.size(1), 1, 1}, generator,
                                    torch::TensorOptions(latents.device()).dtype(torch::kFloat));
    noise += options_.noise_offset * offset;
  }
  if (options_.multires_noise_iterations > 0) noise = add_coarser(noise, options_, generator);
  return noise;
}

torch::Tensor StepLoss::predict(const torch::Tensor& noisy, const torch::Tensor& timesteps, const PictureBatch& batch) {
  std::vector<std::string> captions;
  for (const auto& picture : batch) captions.push_back(picture.caption);
  const auto hidden = texts_.embeddings(captions);
  AutocastScope autocast(precision_.autocast);
  return models_.parts.unet->forward(noisy, timesteps, hidden).to(torch::kFloat);
}

torch::Tensor StepLoss::target(const torch::Tensor& latents, const torch::Tensor& noise,
                               const torch::Tensor& timesteps) {
  return velocity() ? models_.noise_scheduler->get_velocity(latents, noise, timesteps) : noise;
}

/// The masks at the size of the latents: each of their values weighs as much as its part of the picture is white.
torch::Tensor StepLoss::masks(const PictureBatch& batch, const torch::Tensor& latents) {
  if (!options_.masked_loss) return {};
  std::vector<torch::Tensor> rows;
  for (const auto& picture : batch) {
    auto& set = *sets_.at(static_cast<size_t>(picture.set));
    rows.push_back(torch::adaptive_avg_pool2d(set.mask(picture.index, picture.crop, picture.flip),
                                              {latents.size(2), latents.size(3)}));
  }
  return torch::stack(rows).to(latents.device());
}

torch::Tensor StepLoss::compare(const torch::Tensor& prediction, const torch::Tensor& target,
                                const torch::Tensor& timesteps, const torch::Tensor& mask) {
  const auto& alphas = models_.noise_scheduler->noise_schedule().alphas_cumprod;
  const auto weights = timestep_weights(options_, alphas, timesteps, velocity());
  if (!weights.defined() && !mask.defined() && options_.loss_type == "l2") {
    return torch::mse_loss(prediction.to(torch::kFloat), target.to(torch::kFloat));
  }
  auto loss = elementwise_loss(options_, prediction, target, huber_thresholds(options_, alphas, timesteps));
  if (mask.defined()) loss = loss * mask;
  auto rows = loss.mean(std::vector<int64_t>{1, 2, 3});
  if (weights.defined()) rows = rows * weights;
  return rows.mean();
}

torch::Tensor StepLoss::operator()(const PictureBatch& batch) {
  const auto [mean, deviation] = latents_.moments(batch);
  const auto options = torch::TensorOptions(precision_.device).dtype(mean.scalar_type());
  auto latents = mean + deviation * draw_normal(mean.sizes(), generators_.device, options);
  latents = latents * models_.vae_scaling_factor;
  const auto noise = draw_noise(latents);
  auto disturbed = noise;
  if (options_.input_perturbation != 0) {
    disturbed = noise + options_.input_perturbation * torch::empty_like(noise).normal_(0, 1, generators_.device);
  }
  auto& scheduler = *models_.noise_scheduler;
  const int64_t last = std::min(options_.max_timestep, scheduler.num_train_timesteps());
  const auto timesteps = torch::randint(options_.min_timestep, last, {latents.size(0)}, generators_.device,
                                        torch::TensorOptions(precision_.device).dtype(torch::kInt64));
  const auto prediction = predict(scheduler.add_noise(latents, disturbed, timesteps), timesteps, batch);
  const auto wanted = target(latents, noise, timesteps);
  const auto mask = masks(batch, latents);
  if (!prior_loss_weight_) return compare(prediction, wanted, timesteps, mask);
  const auto predictions = prediction.chunk(2), targets = wanted.chunk(2), times = timesteps.chunk(2);
  const auto mask_of = [&](size_t half) { return mask.defined() ? mask.chunk(2)[half] : mask; };
  return compare(predictions[0], targets[0], times[0], mask_of(0)) +
         *prior_loss_weight_ * compare(predictions[1], targets[1], times[1], mask_of(1));
}

double StepLoss::at(const PictureRef& picture, const torch::Tensor& noise, int64_t timestep) {
  const auto latents = latents_.moments({picture}).mean * models_.vae_scaling_factor;
  const auto timesteps = torch::full({1}, timestep, torch::TensorOptions(precision_.device).dtype(torch::kInt64));
  const auto own = noise.to(latents.device(), latents.scalar_type());
  const auto prediction = predict(models_.noise_scheduler->add_noise(latents, own, timesteps), timesteps, {picture});
  return torch::mse_loss(prediction.to(torch::kFloat), target(latents, own, timesteps).to(torch::kFloat))
      .item<double>();
}

}  // namespace lorikeet
