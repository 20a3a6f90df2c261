#include "cli/generate.h"

#include <chrono>
#include <iomanip>
#include <memory>
#include <random>

#include "cli/lora_arguments.h"
#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/interrupt.h"
#include "core/listed.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/text.h"
#include "engine/device.h"
#include "pipelines/stable_diffusion_pipeline.h"

namespace lorikeet {
namespace {
namespace fs = std::filesystem;

using Clock = std::chrono::steady_clock;

/// Every file must be writable before minutes of work begin.
void check_writable(const std::vector<std::string>& names) {
  for (const auto& name : names) {
    const fs::path path = name;
    std::error_code error;
    if (fs::is_directory(path, error)) throw FileError(str("cannot write ", name, ": it is a folder"));
    if (!path.parent_path().empty()) fs::create_directories(path.parent_path(), error);
    AtomicFile probe(path);  // throws when the folder cannot be written to; never committed
  }
}

/// The LoRAs of a call, read from its words before anything is opened.
struct WantedLoras {
  std::vector<LoraArgument> files;
  std::map<std::string, double> blocks;
};

WantedLoras wanted_loras(const GenerateOptions& options) {
  WantedLoras wanted;
  wanted.blocks = parse_block_weights(options.lora_block_weights.value_or(TextList{}), "--lora_block_weights");
  for (const auto& text : options.lora.value_or(TextList{})) {
    wanted.files.push_back(parse_lora_argument(text, "--lora"));
  }
  return wanted;
}

void load_loras(StableDiffusionPipeline& pipeline, const WantedLoras& wanted, bool strict) {
  std::vector<std::string> names;
  std::vector<AdapterWeight> weights;
  for (const auto& [path, weight] : wanted.files) {
    const auto report = pipeline.load_lora_weights(path, {.strict = strict});
    tell_report(path, report);
    names.push_back(report.adapter_name);
    weights.push_back({weight, wanted.blocks});
  }
  if (!names.empty()) pipeline.set_adapters(names, weights);
}

StableDiffusionPipeline open_pipeline(const GenerateOptions& options) {
  const auto wanted = wanted_loras(options);
  parse_dtype(options.dtype, choose_device(options.device));  // fp16 on a CPU is told before anything is read
  PipelineOptions model;
  model.dtype = options.dtype;
  model.device = options.device;
  model.variant = options.variant;
  model.revision = options.revision;
  model.config = options.single_file_config;
  auto pipeline = StableDiffusionPipeline::from_pretrained(options.pretrained_model_name_or_path, model);
  load_loras(pipeline, wanted, options.strict);
  for (const auto& file : options.textual_inversion.value_or(TextList{})) {
    log_info(str("new words for prompts from ", file, ": ", listed(pipeline.load_textual_inversion(file))));
  }
  if (options.scheduler) pipeline.set_scheduler(*options.scheduler);
  pipeline.enable_vae_tiling(options.vae_tiling);
  pipeline.enable_vae_slicing(options.vae_slicing);
  return pipeline;
}

CallOptions call_options(const GenerateOptions& options, uint64_t seed) {
  CallOptions call;
  if (options.height) call.height = static_cast<int>(*options.height);
  if (options.width) call.width = static_cast<int>(*options.width);
  call.num_inference_steps = static_cast<int>(options.num_inference_steps);
  call.guidance_scale = options.guidance_scale;
  call.negative_prompt = options.negative_prompt;
  call.num_images_per_prompt = static_cast<int>(options.num_images_per_prompt);
  call.eta = options.eta;
  call.seed = seed;
  call.guidance_rescale = options.guidance_rescale;
  return call;
}

uint64_t chosen_seed(const GenerateOptions& options) {
  if (options.seed) return static_cast<uint64_t>(*options.seed);
  const uint64_t seed = std::random_device{}();
  log_info(str("seed ", seed, " (--seed=", seed, " draws these pictures again)"));
  return seed;
}

void save(const std::vector<GeneratedImage>& images, const GenerateOptions& options) {
  const auto names = output_names(options);
  if (options.grid) {
    const std::vector<Image> plain(images.begin(), images.end());
    write_image(names.front(), image_grid(plain, static_cast<int>(images.size() / scales(options).size())));
  } else {
    for (size_t i = 0; i < images.size(); ++i) images[i].save(names[i]);
  }
  for (const auto& name : names) log_info(str("wrote ", name));
}

}  // namespace

void generate(const GenerateOptions& options) {
  validate(options);
  check_writable(output_names(options));
  auto pipeline = open_pipeline(options);
  const auto strengths = scales(options);
  auto call = call_options(options, chosen_seed(options));
  const auto start = Clock::now();
  std::vector<GeneratedImage> images;
  std::unique_ptr<ProgressBar> bar;  // how many steps a sampler takes is known at its first
  int64_t steps = 0;
  call.callback_on_step_end = [&](const StepProgress& progress) {
    if (!bar) bar = std::make_unique<ProgressBar>("Drawing", progress.total * static_cast<int64_t>(strengths.size()));
    bar->update(++steps);
    return !stop_requested();
  };
  for (const double strength : strengths) {
    call.cross_attention_kwargs.scale = strength;
    for (auto& image : pipeline(options.prompt, call).images) images.push_back(std::move(image));
  }
  if (bar) bar->finish();
  save(images, options);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  log_info(str(images.size(), images.size() == 1 ? " picture in " : " pictures in ", std::fixed, std::setprecision(1),
               seconds, " s on ", pipeline.device_description(), ", peak memory ", pipeline.peak_memory_bytes() >> 20,
               " MiB"));
}

}  // namespace lorikeet
