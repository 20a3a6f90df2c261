#include <utility>

#include "cli/command.h"
#include "cli/doctor.h"
#include "cli/generate.h"
#include "cli/lora_commands.h"
#include "cli/train_dreambooth.h"
#include "cli/train_text_to_image.h"
#include "cli/version.h"

namespace lorikeet {
namespace {

std::vector<Command> command_table() {
  std::vector<Command> table = {
      bind({.name = "train dreambooth",
            .summary = "Teach a model one subject from a handful of pictures",
            .about = "Trains a LoRA on the pictures of --instance_data_dir with the flags of Diffusers' "
                     "train_dreambooth_lora.py, and writes pytorch_lora_weights.safetensors into --output_dir.",
            .example = "  lorikeet train dreambooth --pretrained_model_name_or_path=models/lorikeet-base \\\n"
                       "    --instance_data_dir=examples/demo-subject --instance_prompt=\"sks cat face\" \\\n"
                       "    --resolution=64 --rank=8 --learning_rate=1e-3 --max_train_steps=100 --seed=0"},
           train_dreambooth_command),
      bind(
          {.name = "train text-to-image",
           .summary = "Teach a model a style or a subject from captioned pictures",
           .about = "Trains a LoRA on the pictures and captions of --train_data_dir or --dataset_name with the flags "
                    "of Diffusers' "
                    "train_text_to_image_lora.py, and writes pytorch_lora_weights.safetensors into --output_dir.",
           .example = "  lorikeet train text-to-image --pretrained_model_name_or_path=models/lorikeet-base \\\n"
                      "    --train_data_dir=examples/demo-style --resolution=64 --random_flip --train_batch_size=4 \\\n"
                      "    --rank=8 --learning_rate=1e-3 --max_train_steps=100 --seed=0"},
          train_text_to_image_command),
      bind({.name = "generate",
            .summary = "Draw pictures from prompts, with or without a LoRA",
            .about = "Opens a Stable Diffusion model in Diffusers' layout, puts a LoRA into it where one is given, and "
                     "writes a picture for every prompt.",
            .example =
                "  lorikeet generate --pretrained_model_name_or_path=models/lorikeet-base --prompt=\"red apple\" \\\n"
                "    --guidance_scale=3 --seed=0 --output=apple.png"},
           generate),
      bind({.name = "lora inspect",
            .summary = "Tell what is in a LoRA file",
            .about = "Reads a LoRA of any dialect and prints its dialect, base model, layers, ranks, effective scale, "
                     "norms, metadata, learned words, and what of it would have no effect.",
            .example = "  lorikeet lora inspect style.safetensors --layers"},
           lora_inspect),
      bind({.name = "lora convert",
            .summary = "Write a LoRA in another dialect",
            .about = "Reads a LoRA of any dialect and writes it for Diffusers, PEFT, or kohya's tools, A1111 and "
                     "ComfyUI. The change of every weight stays the same.",
            .example = "  lorikeet lora convert IN.safetensors OUT.safetensors --to=kohya --dtype=fp16"},
           lora_convert),
      bind(
          {.name = "lora merge",
           .summary = "Make one LoRA out of several",
           .about = "Adds up the changes of several LoRAs, each at its weight: exactly, or within a rank by SVD, which "
                    "prints the error of every layer.",
           .example = "  lorikeet lora merge A.safetensors:0.7 B.safetensors:0.4 -o C.safetensors"},
          lora_merge),
      bind({.name = "lora fuse",
            .summary = "Write a whole model with a LoRA baked in",
            .about = "Adds one or several LoRAs to the weights of a base model and writes the model.",
            .example = "  lorikeet lora fuse --pretrained_model_name_or_path=models/lorikeet-base \\\n"
                       "    --lora=style.safetensors:0.8 -o fused-model"},
           lora_fuse),
      bind({.name = "lora extract",
            .summary = "Make a LoRA out of a tuned model",
            .about = "Takes the difference between a tuned model and its base, and writes each layer's best "
                     "approximation of a rank. Prints the error of every layer.",
            .example = "  lorikeet lora extract --tuned=tuned-model --base=base-model --rank=32 -o tuned.safetensors"},
           lora_extract),
      bind({.name = "lora resize",
            .summary = "Give a LoRA a lower rank",
            .about = "Writes each layer's best approximation within a rank or a share of its energy, as plain LoRA, "
                     "whatever kind it was. Prints the error of every layer.",
            .example = "  lorikeet lora resize big.safetensors --keep_energy=0.95 -o small.safetensors"},
           lora_resize),
      bind({.name = "lora diff",
            .summary = "Compare two LoRAs",
            .about = "Tells how far apart the changes of two LoRAs are, whatever their dialects and kinds.",
            .example = "  lorikeet lora diff A.safetensors B.safetensors --layers"},
           lora_diff),
  };
  for (auto& command : hub_command_table()) table.push_back(std::move(command));
  table.push_back(
      bind({.name = "doctor",
            .summary = "Tell what this machine has, and what would be slow on it",
            .about = "Looks at the processor, memory, disk, libtorch, GPU and Hugging Face caches. Changes nothing.",
            .example = "  lorikeet doctor"},
           doctor));
  table.push_back(bind({.name = "version",
                        .summary = "Tell the versions of Lorikeet and libtorch",
                        .about = "Prints one line per part.",
                        .example = "  lorikeet version"},
                       print_version));
  return table;
}

}  // namespace

const std::vector<Command>& commands() {
  static const std::vector<Command> table = command_table();
  return table;
}

}  // namespace lorikeet
