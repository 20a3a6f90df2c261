// The sampling loop, on modules that are already in memory: what the pipeline and the trainer's previews share.
// Source: StableDiffusionPipeline.__call__ of Diffusers 0.42.1; the same numbers in the same order.
#pragma once

#include <torch/types.h>

#include <functional>
#include <string>
#include <vector>

#include "io/image.h"
#include "pipelines/components.h"

namespace lorikeet {

/// Text embeddings of prompts [B, S, D], and of their negative prompts when there is guidance.
struct PromptEmbeddings {
  torch::Tensor positive;
  torch::Tensor negative;  // undefined without guidance
};

/// Called after every step with the step (from 1), the number of steps and the latents; false stops the loop.
using StepCallback = std::function<bool(int64_t step, int64_t total, const torch::Tensor& latents)>;

/// The pictures that are wanted.
struct PictureRequest {
  std::vector<std::string> prompts;
  std::vector<std::string> negative_prompts;  // none (the empty text), one for all, or one per prompt
  PromptEmbeddings embeddings;                // when defined: used in place of the texts; no text encoder is needed
  int64_t num_images_per_prompt = 1;
  int64_t height = 512, width = 512;  // pixels
  int64_t num_inference_steps = 50;
  double guidance_scale = 7.5;  // above 1: guidance, which doubles the UNet's batch
  double guidance_rescale = 0;
  double eta = 0;
  StepCallback callback;
};

/// Throws FormatError for an id that the text encoder has no embedding for: the tokenizer belongs to another model.
void check_token_ids(const std::vector<int64_t>& ids, const CLIPTextModel& text_encoder);

/// Says in a warning which words of `text` do not fit into `limit` tokens, if any.
void warn_of_cut_text(const CLIPTokenizer& tokenizer, const std::string& text, int64_t limit);

/// Last hidden states [B, S, D] of the texts, padded or cut to the tokenizer's model_max_length. What is cut off is
/// named in a warning, unless `warn` is false.
torch::Tensor encode_texts(const CLIPTokenizer& tokenizer, CLIPTextModel& text_encoder,
                           const std::vector<std::string>& texts, bool warn = true);

/// The request's embeddings, or those of its texts. Throws UsageError for no prompt, and when the number of negative
/// prompts is neither 0 nor 1 nor the number of prompts.
PromptEmbeddings encode_prompts(StableDiffusionComponents& components, const PictureRequest& request);

/// From noise to latents [B * num_images_per_prompt, C, height/f, width/f], f being the VAE's scale factor. Every draw
/// comes from `generator`, so that a second call goes on where the first ended. Throws UsageError for a size that is
/// not divisible by 8 or by f, Interrupted when the callback says stop.
torch::Tensor denoise(StableDiffusionComponents& components, Scheduler& scheduler, const PictureRequest& request,
                      torch::Generator& generator);

/// Latents to pictures: decoded in the VAE's dtype, clamped, rounded half to even.
std::vector<Image> decode_images(AutoencoderKL& vae, const torch::Tensor& latents);

/// denoise, then decode_images; prompt by prompt, num_images_per_prompt each.
std::vector<Image> generate_images(StableDiffusionComponents& components, Scheduler& scheduler,
                                   const PictureRequest& request, torch::Generator& generator);

}  // namespace lorikeet
