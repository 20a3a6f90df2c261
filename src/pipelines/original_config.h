// What the original layout leaves to a YAML file elsewhere: the configs of the model's parts, told from the shapes of
// their tensors and from what is the same in all of Stable Diffusion 1.x and 2.x.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "io/weights.h"

namespace lorikeet {

/// Throws FormatError naming what the file is instead: another model, a LoRA, a variant that takes more than a text,
/// or a model that lacks a part.
void check_is_stable_diffusion(const WeightSource& file);

/// Whether the text encoder is OpenCLIP's, as in Stable Diffusion 2.
bool has_open_clip(const WeightSource& file);

/// config.json of a part that is given under Diffusers' names. `sample_size` is in latents for the UNet, in pixels for
/// the VAE. Numbers of heads and of groups leave no trace in the tensors: throws FormatError, with the hint to give
/// the config, for a model that is not as wide as Stable Diffusion, and where a tensor is missing.
nlohmann::json infer_unet_config(const WeightSource& unet, int64_t sample_size);
nlohmann::json infer_vae_config(const WeightSource& vae, int64_t sample_size);
nlohmann::json infer_text_config(const WeightSource& text_encoder, bool open_clip);

/// The scheduler of Stable Diffusion's own model folders: PNDM, or DDIM for v_prediction.
nlohmann::json original_scheduler_config(const std::string& prediction_type);

}  // namespace lorikeet
