// Text to pictures with Stable Diffusion 1.x and 2.x, in the words of Diffusers' guide. No torch header is needed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/image.h"
#include "pipelines/adapter_weight.h"
#include "pipelines/lora_report.h"

namespace lorikeet {

/// How a model is opened.
struct PipelineOptions {
  std::string dtype = "fp32";                // fp32, fp16, bf16; fp16 only together with a GPU
  std::string device = "cpu";                // auto, cpu, cuda, cuda:1
  std::optional<std::string> variant = {};   // "fp16" opens diffusion_pytorch_model.fp16.safetensors and so on
  std::optional<std::string> revision = {};  // of a model in the Hub's cache
  std::optional<std::string> config = {};    // of a single file: a folder or Hub id, see model_source.h
};

/// A picture that can be saved: .png, .jpg, .jpeg or .webp.
struct GeneratedImage : Image {
  void save(const std::filesystem::path& path) const { write_image(path, *this); }
};

/// Where a call stands after a step.
struct StepProgress {
  int step = 0;   // steps done, from 1
  int total = 0;  // steps in all; PNDM takes one more than num_inference_steps
  /// Decodes the latents as they are now; takes as long as the decoding at the end.
  std::function<std::vector<GeneratedImage>()> preview;
};

/// LoRA strength for one call: 0 is the base model, bit for bit, 1 the LoRA as trained.
struct CrossAttentionKwargs {
  double scale = 1.0;
};

/// How a LoRA is opened.
struct LoraLoadOptions {
  std::string adapter_name = {};
  std::string weight_name = {};  // of the file in a folder
  bool strict = false;           // what has no effect in this model is an error
};

/// What a call can be told; Diffusers' names and defaults.
struct CallOptions {
  std::optional<int> height = {};  // pixels, divisible by 8; default: what the model was trained for
  std::optional<int> width = {};
  int num_inference_steps = 50;
  double guidance_scale = 7.5;                    // 1 or less: no guidance, one UNet pass per step
  std::vector<std::string> negative_prompt = {};  // none, one for all prompts, or one per prompt
  int num_images_per_prompt = 1;
  double eta = 0.0;                   // DDIM's noise share, 0..1
  std::optional<uint64_t> seed = {};  // as torch.Generator().manual_seed(seed); default: from the system
  CrossAttentionKwargs cross_attention_kwargs = {};
  double guidance_rescale = 0.0;  // section 3.4 of arXiv 2305.08891, 0..1
  /// Called after every step; false ends the call with Interrupted.
  std::function<bool(const StepProgress&)> callback_on_step_end = {};
};

/// The pictures of a call: prompt by prompt, num_images_per_prompt each.
struct StableDiffusionOutput {
  std::vector<GeneratedImage> images;
  uint64_t seed = 0;  // the one that was used
};

/// Not for use by several threads at once. Source: diffusers.StableDiffusionPipeline.
class StableDiffusionPipeline {
 public:
  /// `name_or_path`: a folder in Diffusers' layout, a single file of the original layout (what Diffusers calls
  /// from_single_file), or a Hub id that is wholly in the cache. Throws FileError,
  /// HubError or FormatError when the model cannot be found or read, UsageError for an option's value.
  static StableDiffusionPipeline from_pretrained(const std::string& name_or_path, const PipelineOptions& options = {});

  StableDiffusionPipeline(StableDiffusionPipeline&&) noexcept;
  StableDiffusionPipeline& operator=(StableDiffusionPipeline&&) noexcept;
  ~StableDiffusionPipeline();

  /// Moves the model: "cpu", "cuda", "cuda:1", "auto".
  StableDiffusionPipeline& to(const std::string& device);

  /// Puts a LoRA of any dialect into the model (see lora/lora_file.h); a folder means its
  /// pytorch_lora_weights.safetensors. It becomes the only active one; without a name it is default_0, default_1 ...
  /// What of the file has no effect is in the report, and an error with `strict`.
  /// Throws FileError, FormatError; UsageError for a name that is taken. Then nothing has changed.
  LoraReport load_lora_weights(const std::filesystem::path& file_or_folder, const LoraLoadOptions& options = {});
  /// The older name of load_lora_weights.
  LoraReport load_attn_procs(const std::filesystem::path& file_or_folder, const LoraLoadOptions& options = {}) {
    return load_lora_weights(file_or_folder, options);
  }
  /// Makes these LoRAs the active ones, each with its weight (1 when none are given).
  void set_adapters(const std::vector<std::string>& names, const std::vector<AdapterWeight>& weights = {});
  std::vector<std::string> get_active_adapters() const;
  std::vector<std::string> get_list_adapters() const;
  void delete_adapters(const std::vector<std::string>& names);
  /// Takes all LoRAs out; the model is what it was, bit for bit.
  void unload_lora_weights();
  /// Adds the active LoRAs to the weights (a call's scale then changes nothing), and takes them out again, exactly.
  void fuse_lora(double lora_scale = 1.0);
  void unfuse_lora();
  /// Writes the active LoRA, apart from its weight, into FOLDER/pytorch_lora_weights.safetensors, as Diffusers does.
  void save_lora_weights(const std::filesystem::path& folder) const;

  /// New words for prompts, out of an embedding's file or a repository of the Hub (hub/fetch_by_name.h); `token` names
  /// them otherwise. Returns the words.
  std::vector<std::string> load_textual_inversion(const std::filesystem::path& file_or_id,
                                                  const std::string& token = "");

  /// "pndm", "ddim", "ddpm", "euler", "euler_a", "dpmsolver++": that class from this model's scheduler config.
  void set_scheduler(const std::string& name);
  /// Decode in tiles (less memory for large pictures; seams are blended), or one picture after the other.
  void enable_vae_tiling(bool enabled = true);
  void enable_vae_slicing(bool enabled = true);

  StableDiffusionOutput operator()(const std::string& prompt, const CallOptions& options = {});
  StableDiffusionOutput operator()(const std::vector<std::string>& prompts, const CallOptions& options = {});

  /// Picture size by default, in pixels.
  int default_height() const;
  int default_width() const;
  /// The most memory used so far, in bytes, and the device's name, for people.
  int64_t peak_memory_bytes() const;
  std::string device_description() const;

 private:
  struct Parts;
  explicit StableDiffusionPipeline(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace lorikeet
