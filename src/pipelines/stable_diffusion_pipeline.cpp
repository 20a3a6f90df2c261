#include "pipelines/stable_diffusion_pipeline.h"

#include "core/errors.h"
#include "core/listed.h"
#include "core/text.h"
#include "engine/device.h"
#include "engine/random.h"
#include "hub/fetch_by_name.h"
#include "lora/lora_writer.h"
#include "pipelines/components.h"
#include "pipelines/denoise.h"
#include "pipelines/lora_adapters.h"

namespace lorikeet {

struct StableDiffusionPipeline::Parts {
  StableDiffusionComponents components;
  std::optional<std::string> scheduler_name;
  torch::Device device = torch::kCPU;
  LoraAdapters loras{components};
  int64_t loaded = 0;  // LoRAs without a name of their own

  void move(torch::Device target) {
    components.unet->to(target);
    components.vae->to(target);
    components.text_encoder->to(target);
    loras.move(target);
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
  const auto model = find_model(name_or_path, options.revision, options.variant, options.config);
  auto parts = std::make_unique<Parts>();
  parts->components = load_components(model, options.variant, dtype);
  make_pipeline_scheduler(parts->components.scheduler_config);  // an unknown one is told of now, not at the first call
  if (device != parts->device) parts->move(device);
  return StableDiffusionPipeline(std::move(parts));
}

StableDiffusionPipeline& StableDiffusionPipeline::to(const std::string& device) {
  parts_->move(choose_device(device));
  return *this;
}

LoraReport StableDiffusionPipeline::load_lora_weights(const std::filesystem::path& file_or_folder,
                                                      const LoraLoadOptions& options) {
  auto& components = parts_->components;
  const auto path = options.weight_name.empty() ? file_or_folder : file_or_folder / options.weight_name;
  const auto file =
      read_lora_file(fetch_lora_file(path.string()), block_order(*components.unet, *components.text_encoder));
  const bool is_named = !options.adapter_name.empty();
  const auto name = is_named ? options.adapter_name : str("default_", parts_->loaded);
  auto report = parts_->loras.load(file, name, options.strict);
  if (!is_named) ++parts_->loaded;
  return report;
}

void StableDiffusionPipeline::set_adapters(const std::vector<std::string>& names,
                                           const std::vector<AdapterWeight>& weights) {
  parts_->loras.set_active(names, weights);
}

std::vector<std::string> StableDiffusionPipeline::get_active_adapters() const { return parts_->loras.active(); }
std::vector<std::string> StableDiffusionPipeline::get_list_adapters() const { return parts_->loras.names(); }

void StableDiffusionPipeline::delete_adapters(const std::vector<std::string>& names) {
  for (const auto& name : names) parts_->loras.remove(name);
}

void StableDiffusionPipeline::unload_lora_weights() { parts_->loras.remove_all(); }
void StableDiffusionPipeline::fuse_lora(double lora_scale) { parts_->loras.fuse(lora_scale); }
void StableDiffusionPipeline::unfuse_lora() { parts_->loras.unfuse(); }

void StableDiffusionPipeline::save_lora_weights(const std::filesystem::path& folder) const {
  const auto file = parts_->loras.active_contents();
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw FileError(str("cannot create ", folder.string(), ": ", error.message()));
  write_lora_file(folder / kLoraFileName, file);
}

std::vector<std::string> StableDiffusionPipeline::load_textual_inversion(const std::filesystem::path& file_or_id,
                                                                         const std::string& token) {
  const auto file = fetch_learned_words(file_or_id.string());
  auto words = read_lora_file(file).words;
  if (words.empty()) throw FormatError(str(file.string(), ": there is no learned word in it"));
  if (!token.empty()) {
    if (words.size() != 1)
      throw UsageError(str("one token is given for the ", words.size(), " words of ", file.string()));
    words.front().word = token;
  }
  std::vector<std::string> texts;
  for (const auto& word : words) texts.push_back(word.word);
  parts_->loras.words().add(str("textual inversion ", listed(texts)), words);
  return texts;
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
  parts_->loras.set_scale(options.cross_attention_kwargs.scale);
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
