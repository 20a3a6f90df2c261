#include "cli/lora_arguments.h"
#include "cli/lora_commands.h"
#include "cli/model_options.h"
#include "core/errors.h"
#include "core/listed.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/fetch_by_name.h"
#include "pipelines/components.h"
#include "pipelines/fuse_model.h"

namespace lorikeet {

OptionList fields(LoraFuseOptions& o) {
  OptionList list;
  list.group("Model");
  list.add("pretrained_model_name_or_path", &o.pretrained_model_name_or_path,
           "The base model: a folder in Diffusers' layout, a single file, or a Hub id that is in the cache.")
      .required();
  list.add("revision", &o.revision, "Branch, tag or commit of a Hub id (default: main).");
  list.add("single_file_config", &o.single_file_config, kSingleFileConfigHelp);
  list.add("variant", &o.variant, "Weights of this variant.");
  list.group("LoRA");
  list.add("lora", &o.lora,
           "LoRA file of any dialect, with a weight where wanted: style.safetensors:0.8. Several add up.")
      .required();
  list.add("scale", &o.scale, "Strength, on top of each LoRA's weight.");
  list.add("lora_block_weights", &o.lora_block_weights,
           "Strength by block: down=0.5 mid=1 up.block_1=0.4 text_encoder=0; what is not named stays at 1.");
  list.add("strict", &o.strict, "Stop when something in a LoRA has no effect in this model.");
  list.group("Output");
  list.add("output", &o.output, "New folder for the whole model, or a .safetensors file for the original layout.")
      .required()
      .short_name('o');
  return list;
}

void lora_fuse(const LoraFuseOptions& options) {
  LoraFuseOptions copy = options;
  fields(copy).check();
  FuseRequest request;
  request.variant = options.variant;
  request.scale = options.scale;
  request.strict = options.strict;
  const auto blocks = parse_block_weights(options.lora_block_weights.value_or(TextList{}), "--lora_block_weights");
  std::vector<LoraArgument> arguments;
  for (const auto& text : options.lora) arguments.push_back(parse_lora_argument(text, "--lora"));
  request.model =
      find_model(options.pretrained_model_name_or_path, options.revision, options.variant, options.single_file_config);
  for (const auto& argument : arguments) {
    request.loras.push_back({read_lora_file(fetch_lora_file(argument.path)), {argument.weight, blocks}});
  }
  const auto fused = write_fused_model(request, options.output);
  for (size_t i = 0; i < arguments.size(); ++i) tell_report(arguments[i].path, fused.reports[i]);
  log_info(str("wrote ", options.output, ": ", fused.changed, " tensors with the LoRA baked in"));
  for (const auto& file : fused.words) {
    log_warning(str("a learned word cannot be baked in: give --textual_inversion=", file.string(), " to generate"));
  }
}

}  // namespace lorikeet
