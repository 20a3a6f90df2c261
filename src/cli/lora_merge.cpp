#include "cli/lora_arguments.h"
#include "cli/lora_commands.h"
#include "cli/lora_truncation.h"
#include "cli/work_bars.h"
#include "core/errors.h"
#include "lora/merge.h"

namespace lorikeet {

OptionList fields(LoraMergeOptions& o) {
  OptionList list;
  list.group("Arguments");
  list.add("files", &o.files, "LoRA files of any dialect, each with its weight: style.safetensors:0.7.")
      .required()
      .positional();
  list.group("Merging");
  list.add("method", &o.method,
           "concat: the sum exactly, ranks add up. svd: the sum's best approximation of --rank or --keep_energy.")
      .choices({"concat", "svd"});
  list.add("rank", &o.rank, "Rank of every layer, with --method=svd.").at_least(1);
  list.add("keep_energy", &o.keep_energy,
           "With --method=svd: the smallest rank of each layer that keeps this share of its squared singular values.")
      .above(0)
      .at_most(1);
  list.group("Output");
  list.add("output", &o.output, "File to write.").required().short_name('o');
  add_write_options(list, o.to, o.dtype);
  list.add("strict", &o.strict, "Stop when something in a file is not understood, instead of leaving it out.");
  return list;
}

void lora_merge(const LoraMergeOptions& options) {
  LoraMergeOptions copy = options;
  fields(copy).check();
  const bool by_svd = options.method == "svd";
  if (by_svd != (options.rank || options.keep_energy)) {
    throw UsageError(by_svd ? "--method=svd needs --rank or --keep_energy"
                            : "--rank and --keep_energy are for --method=svd: concat keeps the sum as it is");
  }
  auto writing = write_options(options.to, options.dtype);
  std::vector<WeightedLora> loras;
  for (const auto& text : options.files) {
    const auto argument = parse_lora_argument(text, "lora merge");
    loras.push_back({read_lora_argument(argument.path, options.strict), argument.weight, argument.path});
  }
  MergedLora merged;
  {
    WorkBars bars;
    const LayerProgress progress = [&](int64_t done, int64_t total) {
      bars.show("Merging", done, total);
      return true;
    };
    merged = by_svd ? merge_svd(loras, {options.rank, options.keep_energy}, progress) : merge_concat(loras, progress);
  }
  if (by_svd) tell_truncation(merged.report);
  writing.metadata = merged.file.metadata;
  write_and_tell(options.output, merged.file, writing);
}

}  // namespace lorikeet
