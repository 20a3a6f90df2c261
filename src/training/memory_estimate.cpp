#include "training/memory_estimate.h"

#include <algorithm>

namespace lorikeet {
namespace {

int64_t weight_bytes(const torch::nn::Module& module) {
  int64_t bytes = 0;
  for (const auto& parameter : module.parameters()) bytes += static_cast<int64_t>(parameter.nbytes());
  return bytes;
}

/// LoHa and LoKr keep each layer's change as a whole until backward has passed.
int64_t dense_elements(torch::nn::Module& model, const LoraLayers& layers) {
  int64_t elements = 0;
  const AdaptableLayers adaptable(model);
  for (const auto& [path, adapter] : layers) {
    if (adapter->values.kind != ChangeKind::kLora) elements += adaptable.find(path)->weight.numel();
  }
  return elements;
}

}  // namespace

int64_t estimate_training_memory(const TrainingModels& models, const TrainOptions& options,
                                 const TrainingPrecision& precision, int64_t examples, bool with_prior) {
  int64_t bytes = weight_bytes(*models.parts.unet) + weight_bytes(*models.parts.vae);
  if (models.parts.text_encoder) bytes += weight_bytes(*models.parts.text_encoder);
  for (const auto& parameter : models.trained_parameters()) {
    bytes += 4 * static_cast<int64_t>(parameter.value.nbytes());  // value, gradient, two moments
  }
  // Elements kept for backward per latent pixel and channel of the outermost block. The first came out right once: 4.5
  // GiB said, 4.3 to 4.5 seen, for Stable Diffusion 1.5's shape at 256 pixels in fp32. The second is a guess, not
  // measured.
  const double kept = options.gradient_checkpointing ? 60 : 420;
  const auto& config = models.parts.unet->config();
  const int64_t side = options.resolution / models.parts.vae->config().downsampling_factor();
  const double rows = static_cast<double>(std::min(options.train_batch_size, examples)) * (with_prior ? 2 : 1);
  const auto element = static_cast<double>(c10::elementSize(precision.weights));
  if (!options.gradient_checkpointing) {  // else one block's at a time
    const int64_t dense = dense_elements(*models.parts.unet, models.unet_lora) +
                          (models.text_lora.empty() ? 0 : dense_elements(*models.parts.text_encoder, models.text_lora));
    bytes += static_cast<int64_t>(element) * dense;
  }
  return bytes + static_cast<int64_t>(kept * element * rows * static_cast<double>(side * side) *
                                      static_cast<double>(config.block_out_channels.front()));
}

}  // namespace lorikeet
