#include "cli/lora_arguments.h"
#include "cli/lora_commands.h"
#include "cli/lora_truncation.h"
#include "cli/work_bars.h"
#include "lora/resize.h"

namespace lorikeet {

OptionList fields(LoraResizeOptions& o) {
  OptionList list;
  list.group("Arguments");
  list.add("file", &o.file, "LoRA file of any dialect and kind; the result is plain LoRA.").required().positional();
  list.group("Resizing");
  list.add("rank", &o.rank, "Rank that no layer is to be above.").at_least(1);
  list.add("keep_energy", &o.keep_energy,
           "The smallest rank of each layer that keeps this share of its squared singular values: 0.95, for instance.")
      .above(0)
      .at_most(1);
  list.group("Output");
  list.add("output", &o.output, "File to write.").required().short_name('o');
  add_write_options(list, o.to, o.dtype);
  list.add("strict", &o.strict, "Stop when something in the file is not understood, instead of leaving it out.");
  return list;
}

void lora_resize(const LoraResizeOptions& options) {
  LoraResizeOptions copy = options;
  fields(copy).check();
  const TruncateOptions truncate{options.rank, options.keep_energy};
  check_truncation(truncate);
  auto writing = write_options(options.to, options.dtype);
  const auto file = read_lora_argument(options.file, options.strict);
  ResizedLora resized;
  {
    WorkBars bars;
    resized = resize_lora(file, truncate, [&](int64_t done, int64_t total) {
      bars.show("Resizing", done, total);
      return true;
    });
  }
  tell_truncation(resized.report);
  writing.metadata = resized.file.metadata;
  write_and_tell(options.output, resized.file, writing);
}

}  // namespace lorikeet
