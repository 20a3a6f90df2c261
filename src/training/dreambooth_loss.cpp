#include "training/dreambooth_loss.h"

#include "core/errors.h"
#include "core/text.h"
#include "engine/random.h"

namespace lorikeet {
namespace {

torch::Tensor mean_squared_error(const torch::Tensor& prediction, const torch::Tensor& target) {
  return torch::mse_loss(prediction.to(torch::kFloat), target.to(torch::kFloat));
}

torch::Tensor as_row(const std::vector<int64_t>& values, torch::Device device) {
  return torch::tensor(values, torch::kInt64).unsqueeze(0).to(device);
}

}  // namespace

DreamboothLoss::DreamboothLoss(DreamboothModels& models, const TrainDreamboothOptions& options,
                               const TrainingPrecision& precision, TrainingGenerators& generators,
                               PictureFolder& instances, PictureFolder* classes)
    : models_(models),
      options_(options),
      precision_(precision),
      generators_(generators),
      latents_(*models.parts.vae, instances, classes) {
  instance_ = prepare(options.instance_prompt);
  if (classes != nullptr) class_ = prepare(*options.class_prompt);
}

DreamboothLoss::Prompt DreamboothLoss::prepare(const std::string& text) {
  const auto& tokenizer = *models_.parts.tokenizer;
  const auto encoded = tokenizer.encode(text, options_.tokenizer_max_length.value_or(tokenizer.model_max_length()));
  Prompt prompt;
  prompt.ids = as_row(encoded.ids, precision_.device);
  if (options_.text_encoder_use_attention_mask) prompt.mask = as_row(encoded.attention_mask, precision_.device);
  if (!options_.train_text_encoder) {
    torch::NoGradGuard no_grad;
    prompt.embeddings = encode(prompt.ids, prompt.mask);
  }
  return prompt;
}

torch::Tensor DreamboothLoss::encode(const torch::Tensor& ids, const torch::Tensor& mask) {
  return models_.parts.text_encoder->forward(ids, mask);
}

torch::Tensor DreamboothLoss::embeddings(const PictureBatch& batch) {
  std::vector<torch::Tensor> rows, masks;
  for (const auto& picture : batch) {
    const auto& prompt = picture.is_class ? class_ : instance_;
    rows.push_back(options_.train_text_encoder ? prompt.ids : prompt.embeddings);
    if (prompt.mask.defined()) masks.push_back(prompt.mask);
  }
  const auto stacked = torch::cat(rows);
  if (!options_.train_text_encoder) return stacked;
  AutocastScope autocast(precision_.autocast);
  return encode(stacked, masks.empty() ? torch::Tensor() : torch::cat(masks)).to(torch::kFloat);
}

torch::Tensor DreamboothLoss::operator()(const PictureBatch& batch) {
  const auto [mean, deviation] = latents_.moments(batch);
  const auto options = torch::TensorOptions(precision_.device).dtype(mean.scalar_type());
  auto latents = mean + deviation * draw_normal(mean.sizes(), generators_.device, options);
  latents = latents * models_.parts.vae->config().scaling_factor;
  // torch.randn_like: in the latents' memory order, which for batches may be channels-last.
  const auto noise = torch::empty_like(latents).normal_(0, 1, generators_.device);
  auto& scheduler = *models_.noise_scheduler;
  const auto timesteps = torch::randint(0, scheduler.num_train_timesteps(), {latents.size(0)}, generators_.device,
                                        torch::TensorOptions(precision_.device).dtype(torch::kInt64));
  const auto noisy = scheduler.add_noise(latents, noise, timesteps);
  const auto hidden = embeddings(batch);
  torch::Tensor prediction;
  {
    AutocastScope autocast(precision_.autocast);
    prediction = models_.parts.unet->forward(noisy, timesteps, hidden).to(torch::kFloat);
  }
  const bool velocity = scheduler.prediction_type() == "v_prediction";
  const auto target = velocity ? scheduler.get_velocity(latents, noise, timesteps) : noise;
  if (!options_.with_prior_preservation) return mean_squared_error(prediction, target);
  const auto predictions = prediction.chunk(2), targets = target.chunk(2);
  return mean_squared_error(predictions[0], targets[0]) +
         options_.prior_loss_weight * mean_squared_error(predictions[1], targets[1]);
}

}  // namespace lorikeet
