#include "cli/command.h"
#include "cli/doctor.h"
#include "cli/generate.h"
#include "cli/version.h"

namespace lorikeet {

const std::vector<Command>& commands() {
  static const std::vector<Command> table = {
      bind({.name = "doctor",
            .summary = "Tell what this machine has, and what would be slow on it",
            .about = "Looks at the processor, memory, disk, libtorch, GPU and Hugging Face caches. Changes nothing.",
            .example = "  lorikeet doctor"},
           doctor),
      bind({.name = "generate",
            .summary = "Draw pictures from prompts, with or without a LoRA",
            .about = "Opens a Stable Diffusion model in Diffusers' layout, puts a LoRA into it where one is given, and "
                     "writes a picture for every prompt.",
            .example =
                "  lorikeet generate --pretrained_model_name_or_path=models/lorikeet-base --prompt=\"red apple\" \\\n"
                "    --guidance_scale=3 --seed=0 --output=apple.png"},
           generate),
      bind({.name = "version",
            .summary = "Tell the versions of Lorikeet and libtorch",
            .about = "Prints one line per part.",
            .example = "  lorikeet version"},
           print_version),
  };
  return table;
}

}  // namespace lorikeet
