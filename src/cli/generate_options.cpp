#include "cli/generate_options.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "cli/model_options.h"
#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

/// "0,0.5,1" -> {"0", "0.5", "1"}
std::vector<std::string> split_at_commas(const std::string& text) {
  std::vector<std::string> parts(1);
  for (char c : text) {
    if (c == ',') {
      parts.emplace_back();
    } else if (c != ' ') {
      parts.back() += c;
    }
  }
  return parts;
}

}  // namespace

OptionList fields(GenerateOptions& o) {
  OptionList list;
  list.group("Model");
  list.add("pretrained_model_name_or_path", &o.pretrained_model_name_or_path,
           "Folder in Diffusers' layout, single file of the original layout (.safetensors, .ckpt), or a Hub id that is "
           "in "
           "the Hugging Face cache.")
      .required();
  list.add("single_file_config", &o.single_file_config, kSingleFileConfigHelp);
  list.add("revision", &o.revision, "Branch, tag or commit of a Hub id (default: main).");
  list.add("variant", &o.variant, "Weights of this variant: fp16 means diffusion_pytorch_model.fp16.safetensors.");

  list.group("LoRA");
  list.add("lora", &o.lora,
           "LoRA file of any dialect, or the output folder of a training, with a weight where wanted: "
           "style.safetensors:0.8. Several add up.");
  list.add("scale", &o.scale,
           "Strength of the LoRA, 0 (base model) to 1, on top of the weights; a list such as 0,0.5,1 draws each.");
  list.add("lora_block_weights", &o.lora_block_weights,
           "Strength by block of the UNet: down=0.5 mid=1 up.block_1=0.4 up.block_1.0=0.2 text_encoder=0; what is not "
           "named stays at 1.");
  list.add("textual_inversion", &o.textual_inversion,
           "Learned words for the prompts: files, or ids on the Hub such as owner/name.");
  list.add("strict", &o.strict, "Stop when something in a LoRA has no effect in this model, instead of telling it.");

  list.group("Picture");
  list.add("prompt", &o.prompt, "What to draw; give it several times for several pictures.").required();
  list.add("negative_prompt", &o.negative_prompt, "What not to draw: one for all prompts, or one per prompt.");
  list.add("height", &o.height, "Pixels; default: what the model was trained for.").at_least(8).multiple_of(8);
  list.add("width", &o.width, "Pixels; default: what the model was trained for.").at_least(8).multiple_of(8);
  list.add("num_images_per_prompt", &o.num_images_per_prompt, "Pictures per prompt.").at_least(1);
  list.add("seed", &o.seed, "The same seed draws the same pictures; default: a random one, which is printed.")
      .at_least(0);

  list.group("Sampling");
  list.add("num_inference_steps", &o.num_inference_steps, "Denoising steps.").at_least(1);
  list.add("guidance_scale", &o.guidance_scale, "How closely to follow the prompt; 1 or less: no guidance.");
  list.add("guidance_rescale", &o.guidance_rescale, "Against over-exposure with guidance (arXiv 2305.08891).")
      .at_least(0)
      .at_most(1);
  list.add("scheduler", &o.scheduler, "Sampler; default: the model's own.")
      .choices({"pndm", "ddim", "ddpm", "euler", "euler_a", "dpmsolver++"});
  list.add("eta", &o.eta, "Share of fresh noise in DDIM's steps.").at_least(0).at_most(1);

  list.group("Machine");
  list.add("device", &o.device, "auto, cpu, cuda, or one GPU of several such as cuda:1.");
  list.add("dtype", &o.dtype, "Precision of the model; fp16 needs a GPU.").choices({"fp32", "fp16", "bf16"});
  list.add("vae_tiling", &o.vae_tiling, "Decode in tiles: less memory for large pictures.");
  list.add("vae_slicing", &o.vae_slicing, "Decode one picture at a time: less memory for many pictures.");

  list.group("Output");
  list.add("output", &o.output,
           "File to write (.png, .jpg, .webp). Several pictures become NAME-0.png, NAME-1.png ..., with several scales "
           "NAME-scale0.5-0.png ...");
  list.add("grid", &o.grid, "One file with all pictures: a row per scale, a column per prompt and picture.");
  list.add("config", &o.config, "TOML or JSON file with the same names; flags win over it.").command_line_only();
  return list;
}

std::vector<double> scales(const GenerateOptions& options) {
  std::vector<double> values;
  for (const auto& part : split_at_commas(options.scale)) {
    char* end = nullptr;
    const double value = std::strtod(part.c_str(), &end);
    if (part.empty() || *end != '\0' || !(value >= -1e6 && value <= 1e6)) {
      throw UsageError(str("--scale: \"", options.scale, "\" is not a number or a list of numbers"),
                       "for example --scale=0.5 or --scale=0,0.5,1");
    }
    values.push_back(value);
  }
  return values;
}

void validate(const GenerateOptions& options) {
  GenerateOptions copy = options;
  fields(copy).check();
  const auto strengths = scales(options);
  if (std::set<double>(strengths.begin(), strengths.end()).size() != strengths.size()) {
    throw UsageError(str("--scale: \"", options.scale, "\" names a scale twice"));
  }
  if (!options.lora && options.scale != "1") {
    throw UsageError("--scale is the strength of a LoRA, but no --lora is given", "add --lora=FOLDER_OR_FILE");
  }
  if (!options.lora && options.lora_block_weights) {
    throw UsageError("--lora_block_weights is the strength of a LoRA, but no --lora is given",
                     "add --lora=FOLDER_OR_FILE");
  }
  const size_t negatives = options.negative_prompt.size();
  if (negatives > 1 && negatives != options.prompt.size()) {
    throw UsageError(str("--negative_prompt is given ", negatives, " times for ", options.prompt.size(),
                         " prompts; one for all or one per prompt was expected"));
  }
  std::string extension = std::filesystem::path(options.output).extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  if (extension != ".png" && extension != ".jpg" && extension != ".jpeg" && extension != ".webp") {
    throw UsageError(str("--output: \"", options.output, "\" does not end in .png, .jpg, .jpeg or .webp"));
  }
}

std::vector<std::string> output_names(const GenerateOptions& options) {
  const auto strengths = split_at_commas(options.scale);
  const size_t pictures = options.prompt.size() * options.num_images_per_prompt;
  if (options.grid || strengths.size() * pictures == 1) return {options.output};
  const std::filesystem::path path = options.output;
  std::vector<std::string> names;
  for (const auto& strength : strengths) {
    for (size_t i = 0; i < pictures; ++i) {
      std::string name = path.stem().string();
      if (strengths.size() > 1) name += "-scale" + strength;
      if (pictures > 1) name += str("-", i);
      names.push_back((path.parent_path() / (name + path.extension().string())).string());
    }
  }
  return names;
}

}  // namespace lorikeet
