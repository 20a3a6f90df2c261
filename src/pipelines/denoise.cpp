#include "pipelines/denoise.h"

#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "engine/random.h"

namespace lorikeet {
namespace {

/// UNets that take the guidance scale as an input (distilled ones) are asked once per step, whatever it is.
bool wants_guidance(const StableDiffusionComponents& components, const PictureRequest& request) {
  return request.guidance_scale > 1 && !components.unet->config().time_cond_proj_dim;
}

/// Sines and cosines of the guidance scale [pictures, dim]; undefined for UNets without that input.
torch::Tensor guidance_embedding(const UNet2DConditionModel& unet, double guidance_scale, int64_t pictures) {
  if (!unet.config().time_cond_proj_dim) return {};
  const int64_t dim = *unet.config().time_cond_proj_dim, half = dim / 2;
  const auto position = torch::full({pictures}, guidance_scale - 1, torch::kFloat) * 1000.0;
  const auto step = torch::log(torch::tensor(10000.0f)) / (half - 1);
  const auto frequencies = torch::exp(torch::arange(half, torch::kFloat) * -step);
  const auto angles = position.unsqueeze(1) * frequencies.unsqueeze(0);
  auto embedding = torch::cat({torch::sin(angles), torch::cos(angles)}, 1);
  if (dim % 2 == 1) embedding = torch::constant_pad_nd(embedding, {0, 1});
  return embedding.to(module_device(unet), module_dtype(unet));
}

std::vector<std::string> negative_texts(const PictureRequest& request) {
  const size_t prompts = request.prompts.size(), negatives = request.negative_prompts.size();
  if (negatives == prompts) return request.negative_prompts;
  if (negatives > 1) {
    throw UsageError(str("there are ", negatives, " negative prompts for ", prompts,
                         " prompts; none, one for all or one per prompt was expected"));
  }
  return std::vector<std::string>(prompts, negatives == 1 ? request.negative_prompts.front() : "");
}

/// [B, S, D] -> [B * n, S, D], each prompt's copies side by side.
torch::Tensor repeat_per_prompt(const torch::Tensor& embeddings, int64_t n) {
  return embeddings.repeat({1, n, 1}).view({embeddings.size(0) * n, embeddings.size(1), -1});
}

/// Section 3.4 of arXiv 2305.08891: the guided prediction keeps the contrast of the prompted one.
torch::Tensor rescale_guidance(const torch::Tensor& guided, const torch::Tensor& prompted, double rescale) {
  const std::vector<int64_t> dimensions = {1, 2, 3};
  const auto deviation_prompted = prompted.std(dimensions, /*unbiased=*/true, /*keepdim=*/true);
  const auto deviation_guided = guided.std(dimensions, true, true);
  const auto rescaled = guided * (deviation_prompted / deviation_guided);
  return rescale * rescaled + (1 - rescale) * guided;
}

torch::Tensor draw_latents(const StableDiffusionComponents& components, const PictureRequest& request, int64_t pictures,
                           torch::Generator& generator) {
  const int64_t factor = components.vae->config().downsampling_factor();
  const int64_t unit = std::max<int64_t>(factor, 8);
  for (const auto& [name, size] : {std::pair{"height", request.height}, {"width", request.width}}) {
    if (size < unit || size % unit != 0) {
      throw UsageError(str("--", name, " is ", size, ", expected a multiple of ", unit));
    }
  }
  const std::vector<int64_t> shape = {pictures, components.unet->config().in_channels, request.height / factor,
                                      request.width / factor};
  // Drawn where the generator lives, so that a seed means the same noise on every device.
  const auto latents =
      draw_normal(shape, generator, torch::dtype(module_dtype(*components.unet)).device(generator.device()));
  return latents.to(module_device(*components.unet));
}

/// What the UNet is told in every step.
struct Conditions {
  torch::Tensor embeddings;  // [pictures, S, D], twice as many with guidance: negative ones first
  torch::Tensor guidance;    // see guidance_embedding
  bool is_doubled = false;
  int64_t pictures = 0;
};

Conditions make_conditions(StableDiffusionComponents& components, const PictureRequest& request) {
  const auto prompts = encode_prompts(components, request);
  Conditions conditions;
  conditions.is_doubled = wants_guidance(components, request);
  auto embeddings = repeat_per_prompt(prompts.positive, request.num_images_per_prompt);
  conditions.pictures = embeddings.size(0);
  if (conditions.is_doubled) {
    embeddings = torch::cat({repeat_per_prompt(prompts.negative, request.num_images_per_prompt), embeddings});
  }
  conditions.embeddings = embeddings.to(module_device(*components.unet), module_dtype(*components.unet));
  conditions.guidance = guidance_embedding(*components.unet, request.guidance_scale, conditions.pictures);
  return conditions;
}

/// The UNet's answer, [uncond, cond] weighed against each other when there is guidance.
torch::Tensor predict(UNet2DConditionModel& unet, const torch::Tensor& input, const torch::Tensor& timestep,
                      const Conditions& conditions, const PictureRequest& request) {
  const auto prediction = unet.forward(input, timestep, conditions.embeddings, {}, {}, conditions.guidance);
  if (!conditions.is_doubled) return prediction;
  const auto halves = prediction.chunk(2);
  const auto guided = halves[0] + request.guidance_scale * (halves[1] - halves[0]);
  if (request.guidance_rescale <= 0) return guided;
  return rescale_guidance(guided, halves[1], request.guidance_rescale);
}

}  // namespace

void check_token_ids(const std::vector<int64_t>& ids, const CLIPTextModel& text_encoder) {
  const int64_t known = text_encoder.token_count();
  for (const int64_t id : ids) {
    if (id < known) continue;
    throw FormatError(str("the tokenizer gives a token the number ", id, ", but the text encoder knows ", known),
                      "tokenizer and text encoder must come from the same model");
  }
}

void warn_of_cut_text(const CLIPTokenizer& tokenizer, const std::string& text, int64_t limit) {
  const auto ids = tokenizer.encode(text);
  if (static_cast<int64_t>(ids.size()) <= limit) return;
  const std::vector<int64_t> removed(ids.begin() + limit - 1, ids.end() - 1);
  log_warning(str("the prompt is longer than the ", limit,
                  " tokens that the text encoder can read; this was cut off: \"", tokenizer.decode(removed), "\""));
}

torch::Tensor encode_texts(const CLIPTokenizer& tokenizer, CLIPTextModel& text_encoder,
                           const std::vector<std::string>& texts, bool warn) {
  torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> rows;
  for (const auto& text : texts) {
    const auto ids = tokenizer.encode_padded(text);
    check_token_ids(ids, text_encoder);
    rows.push_back(torch::tensor(ids, torch::kLong));
    if (warn) warn_of_cut_text(tokenizer, text, tokenizer.model_max_length());
  }
  return text_encoder.forward(torch::stack(rows).to(module_device(text_encoder)));
}

PromptEmbeddings encode_prompts(StableDiffusionComponents& components, const PictureRequest& request) {
  if (request.embeddings.positive.defined()) return request.embeddings;
  if (request.prompts.empty()) throw UsageError("there is no prompt");
  const auto negatives = negative_texts(request);
  PromptEmbeddings embeddings;
  embeddings.positive = encode_texts(*components.tokenizer, *components.text_encoder, request.prompts);
  if (wants_guidance(components, request)) {
    embeddings.negative = encode_texts(*components.tokenizer, *components.text_encoder, negatives, /*warn=*/false);
  }
  return embeddings;
}

torch::Tensor denoise(StableDiffusionComponents& components, Scheduler& scheduler, const PictureRequest& request,
                      torch::Generator& generator) {
  torch::NoGradGuard no_grad;
  auto& unet = *components.unet;
  const auto conditions = make_conditions(components, request);
  scheduler.set_timesteps(request.num_inference_steps);
  auto latents = draw_latents(components, request, conditions.pictures, generator) * scheduler.init_noise_sigma();
  const auto timesteps = scheduler.timesteps();
  const int64_t total = timesteps.size(0);
  StepOptions step_options;
  step_options.eta = request.eta;
  for (int64_t i = 0; i < total; ++i) {
    const double t = timesteps[i].item<double>();
    const auto input = scheduler.scale_model_input(conditions.is_doubled ? torch::cat({latents, latents}) : latents, t);
    const auto prediction = predict(unet, input, timesteps[i], conditions, request);
    latents = scheduler.step(prediction, t, latents, generator, step_options);
    if (request.callback && !request.callback(i + 1, total, latents)) {
      throw Interrupted(str("drawing was stopped at step ", i + 1, " of ", total));
    }
  }
  return latents;
}

std::vector<Image> decode_images(AutoencoderKL& vae, const torch::Tensor& latents) {
  torch::NoGradGuard no_grad;
  const auto decoded = vae.decode((latents / vae.config().scaling_factor).to(module_dtype(vae)));
  auto unit = (decoded * 0.5 + 0.5).clamp(0, 1).to(torch::kCPU, torch::kFloat);
  if (!torch::isfinite(unit).all().item<bool>()) {
    log_warning("a picture came out with values that are no numbers; they are drawn black (a wider dtype may help)");
    unit = torch::nan_to_num(unit);
  }
  const auto bytes = (unit * 255).round().to(torch::kByte).permute({0, 2, 3, 1}).contiguous();
  std::vector<Image> images;
  for (int64_t i = 0; i < bytes.size(0); ++i) {
    const auto picture = bytes[i];
    Image image;
    image.height = static_cast<int>(picture.size(0));
    image.width = static_cast<int>(picture.size(1));
    const uint8_t* data = picture.data_ptr<uint8_t>();
    image.pixels.assign(data, data + picture.numel());
    images.push_back(std::move(image));
  }
  return images;
}

std::vector<Image> generate_images(StableDiffusionComponents& components, Scheduler& scheduler,
                                   const PictureRequest& request, torch::Generator& generator) {
  return decode_images(*components.vae, denoise(components, scheduler, request, generator));
}

}  // namespace lorikeet
