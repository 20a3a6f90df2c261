#include "pipelines/stable_diffusion_pipeline.h"

#include "core/errors.h"
#include "core/text.h"
#include "engine/device.h"
#include "engine/random.h"
#include "lora/fuse.h"
#include "lora/lora_file.h"
#include "pipelines/components.h"
#include "pipelines/denoise.h"

namespace lorikeet {

struct StableDiffusionPipeline::Parts {
  StableDiffusionComponents components;
  std::optional<std::string> scheduler_name;
  torch::Device device = torch::kCPU;
  LoraLayers unet_lora, text_encoder_lora;
  FusedWeights unet_originals, text_encoder_originals;
  bool has_lora = false, fused = false;

  torch::nn::Module& unet() { return *components.unet; }
  torch::nn::Module& text_encoder() { return *components.text_encoder; }

  void move(torch::Device target) {
    components.unet->to(target);
    components.vae->to(target);
    components.text_encoder->to(target);
    // Adapters and the originals of fused weights are no parameters of the modules.
    for (auto* layers : {&unet_lora, &text_encoder_lora}) {
      for (auto& [path, adapter] : *layers) {
        adapter->down = adapter->down.to(target);
        adapter->up = adapter->up.to(target);
      }
    }
    for (auto* originals : {&unet_originals, &text_encoder_originals}) {
      for (auto& [path, weight] : *originals) weight = weight.to(target);
    }
    device = target;
  }
};

namespace {

torch::ScalarType parse_model_dtype(const std::string& name) {
  // A model may be opened in fp16 on a CPU, to be moved to a GPU: only drawing there is refused.
  const std::string short_name = name == "float16"    ? "fp16"
                                 : name == "bfloat16" ? "bf16"
                                 : name == "float32"  ? "fp32"
                                                      : name;
  return parse_dtype(short_name, torch::kCUDA);
}

std::vector<GeneratedImage> savable(std::vector<Image> images) {
  std::vector<GeneratedImage> out;
  for (auto& image : images) out.push_back(GeneratedImage{std::move(image)});
  return out;
}

void check_call(const CallOptions& options) {
  if (options.num_images_per_prompt < 1) {
    throw UsageError(str("num_images_per_prompt is ", options.num_images_per_prompt, ", expected 1 or more"));
  }
  for (const auto& [name, value] : {std::pair{"eta", options.eta}, {"guidance_rescale", options.guidance_rescale}}) {
    if (!(value >= 0 && value <= 1)) throw UsageError(str(name, " is ", value, ", expected a number from 0 to 1"));
  }
}

}  // namespace

StableDiffusionPipeline::StableDiffusionPipeline(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
StableDiffusionPipeline::StableDiffusionPipeline(StableDiffusionPipeline&&) noexcept = default;
StableDiffusionPipeline& StableDiffusionPipeline::operator=(StableDiffusionPipeline&&) noexcept = default;
StableDiffusionPipeline::~StableDiffusionPipeline() = default;

StableDiffusionPipeline StableDiffusionPipeline::from_pretrained(const std::string& name_or_path,
                                                                 const PipelineOptions& options) {
  const auto dtype = parse_model_dtype(options.dtype);
  const auto device = choose_device(options.device);
  const auto folder = find_model_folder(name_or_path, options.revision, options.variant);
  auto parts = std::make_unique<Parts>();
  parts->components = load_components(folder, options.variant, dtype);
  make_pipeline_scheduler(parts->components.scheduler_config);  // an unknown one is told of now, not at the first call
  if (device != parts->device) parts->move(device);
  return StableDiffusionPipeline(std::move(parts));
}

StableDiffusionPipeline& StableDiffusionPipeline::to(const std::string& device) {
  parts_->move(choose_device(device));
  return *this;
}

void StableDiffusionPipeline::load_lora_weights(const std::filesystem::path& file_or_folder,
                                                const std::string& weight_name) {
  if (parts_->has_lora) {
    throw UsageError("a LoRA is loaded already", "call unload_lora_weights first");
  }
  const auto file = read_lora_file(weight_name.empty() ? file_or_folder : file_or_folder / weight_name);
  try {
    parts_->unet_lora = attach_lora_pairs(parts_->unet(), file.unet);
    parts_->text_encoder_lora = attach_lora_pairs(parts_->text_encoder(), file.text_encoder);
  } catch (...) {
    detach_lora(parts_->unet());
    detach_lora(parts_->text_encoder());
    parts_->unet_lora.clear();
    throw;
  }
  // As Diffusers does it: a LoRA that is drawn with (not trained) has the model's precision.
  const auto dtype = module_dtype(parts_->unet());
  for (auto* layers : {&parts_->unet_lora, &parts_->text_encoder_lora}) {
    for (auto& [path, adapter] : *layers) {
      adapter->down = adapter->down.to(dtype);
      adapter->up = adapter->up.to(dtype);
    }
  }
  parts_->has_lora = true;
}

void StableDiffusionPipeline::unload_lora_weights() {
  if (parts_->fused) unfuse_lora();
  detach_lora(parts_->unet());
  detach_lora(parts_->text_encoder());
  parts_->unet_lora.clear();
  parts_->text_encoder_lora.clear();
  parts_->has_lora = false;
}

void StableDiffusionPipeline::fuse_lora(double lora_scale) {
  if (!parts_->has_lora) throw UsageError("there is no LoRA to fuse", "call load_lora_weights first");
  if (parts_->fused) throw UsageError("the LoRA is fused already", "call unfuse_lora first");
  set_lora_scale(parts_->unet_lora, lora_scale);
  set_lora_scale(parts_->text_encoder_lora, lora_scale);
  parts_->unet_originals = lorikeet::fuse_lora(parts_->unet(), parts_->unet_lora);
  parts_->text_encoder_originals = lorikeet::fuse_lora(parts_->text_encoder(), parts_->text_encoder_lora);
  parts_->fused = true;
}

void StableDiffusionPipeline::unfuse_lora() {
  if (!parts_->fused) return;
  lorikeet::unfuse_lora(parts_->unet(), parts_->unet_lora, parts_->unet_originals);
  lorikeet::unfuse_lora(parts_->text_encoder(), parts_->text_encoder_lora, parts_->text_encoder_originals);
  parts_->unet_originals.clear();
  parts_->text_encoder_originals.clear();
  parts_->fused = false;
}

void StableDiffusionPipeline::set_scheduler(const std::string& name) {
  make_pipeline_scheduler(parts_->components.scheduler_config, name);  // refuses an unknown name now
  parts_->scheduler_name = name;
}

void StableDiffusionPipeline::enable_vae_tiling(bool enabled) { parts_->components.vae->set_tiling(enabled); }
void StableDiffusionPipeline::enable_vae_slicing(bool enabled) { parts_->components.vae->set_slicing(enabled); }

StableDiffusionOutput StableDiffusionPipeline::operator()(const std::string& prompt, const CallOptions& options) {
  return (*this)(std::vector<std::string>{prompt}, options);
}

StableDiffusionOutput StableDiffusionPipeline::operator()(const std::vector<std::string>& prompts,
                                                          const CallOptions& options) {
  auto& components = parts_->components;
  check_call(options);
  if (parts_->device.is_cpu() && module_dtype(*components.unet) == torch::kHalf) {
    throw UsageError("the model is in fp16, which the CPU does not draw with", "use bf16 or fp32, or to(\"cuda\")");
  }
  PictureRequest request;
  request.prompts = prompts;
  request.negative_prompts = options.negative_prompt;
  request.num_images_per_prompt = options.num_images_per_prompt;
  request.height = options.height.value_or(default_height());
  request.width = options.width.value_or(default_width());
  request.num_inference_steps = options.num_inference_steps;
  request.guidance_scale = options.guidance_scale;
  request.guidance_rescale = options.guidance_rescale;
  request.eta = options.eta;
  if (options.callback_on_step_end) {
    request.callback = [&](int64_t step, int64_t total, const torch::Tensor& latents) {
      StepProgress progress{static_cast<int>(step), static_cast<int>(total), {}};
      progress.preview = [&] { return savable(decode_images(*components.vae, latents)); };
      return options.callback_on_step_end(progress);
    };
  }
  if (!parts_->fused) {
    set_lora_scale(parts_->unet_lora, options.cross_attention_kwargs.scale);
    set_lora_scale(parts_->text_encoder_lora, options.cross_attention_kwargs.scale);
  }
  auto generator = make_generator(options.seed);
  const auto scheduler = make_pipeline_scheduler(components.scheduler_config, parts_->scheduler_name);
  StableDiffusionOutput output;
  output.seed = generator.current_seed();
  output.images = savable(generate_images(components, *scheduler, request, generator));
  return output;
}

int StableDiffusionPipeline::default_height() const {
  const auto& components = parts_->components;
  return static_cast<int>(components.unet->config().sample_size * components.vae->config().downsampling_factor());
}

int StableDiffusionPipeline::default_width() const {
  const auto& components = parts_->components;
  return static_cast<int>(components.unet->config().sample_size * components.vae->config().downsampling_factor());
}

int64_t StableDiffusionPipeline::peak_memory_bytes() const { return lorikeet::peak_memory_bytes(parts_->device); }

std::string StableDiffusionPipeline::device_description() const { return lorikeet::device_description(parts_->device); }

}  // namespace lorikeet
