#include "cli/command.h"
#include "cli/doctor.h"
#include "cli/generate.h"
#include "cli/train_dreambooth.h"
#include "cli/train_text_to_image.h"
#include "cli/version.h"

namespace lorikeet {

const std::vector<Command>& commands() {
  static const std::vector<Command> table = {
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
           .about = "Trains a LoRA on the pictures and captions of --train_data_dir with the flags of Diffusers' "
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
      bind({.name = "doctor",
            .summary = "Tell what this machine has, and what would be slow on it",
            .about = "Looks at the processor, memory, disk, libtorch, GPU and Hugging Face caches. Changes nothing.",
            .example = "  lorikeet doctor"},
           doctor),
      bind({.name = "version",
            .summary = "Tell the versions of Lorikeet and libtorch",
            .about = "Prints one line per part.",
            .example = "  lorikeet version"},
           print_version),
  };
  return table;
}

}  // namespace lorikeet
