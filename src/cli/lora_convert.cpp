#include "cli/lora_arguments.h"
#include "cli/lora_commands.h"

namespace lorikeet {

OptionList fields(LoraConvertOptions& o) {
  OptionList list;
  list.group("Arguments");
  list.add("in", &o.in, "LoRA file of any dialect, or the output folder of a training.").required().positional();
  list.add("out", &o.out, "File to write.").required().positional();
  list.group("Output");
  add_write_options(list, o.to, o.dtype);
  list.add("strict", &o.strict, "Stop when something in the file is not understood, instead of leaving it out.");
  return list;
}

void lora_convert(const LoraConvertOptions& options) {
  LoraConvertOptions copy = options;
  fields(copy).check();
  auto writing = write_options(options.to, options.dtype);
  const auto file = read_lora_argument(options.in, options.strict);
  writing.metadata = file.metadata;
  write_and_tell(options.out, file, writing);
}

}  // namespace lorikeet
