#include "cli/lora_arguments.h"
#include "cli/lora_commands.h"
#include "cli/lora_truncation.h"
#include "cli/numbers.h"
#include "cli/work_bars.h"
#include "core/listed.h"
#include "core/log.h"
#include "core/text.h"
#include "lora/extract.h"
#include "pipelines/model_source.h"

namespace lorikeet {
namespace {

void tell_others(const ExtractReport& report) {
  log_info(str(report.unchanged, " tensors are the same in both models"));
  for (const auto& [what, names] :
       {std::pair{"tuned", &report.only_in_tuned}, std::pair{"base", &report.only_in_base}}) {
    if (!names->empty()) log_warning(str(names->size(), " tensors are in the ", what, " model only: ", listed(*names)));
  }
  std::vector<std::string> left;
  for (const auto& other : report.others) {
    if (!other.kept) left.push_back(other.part + "." + other.name);
  }
  if (left.empty()) return;
  log_warning(str(left.size(), " differences have no low rank and are left out, ", percent(report.left_out_share()),
                  " of the squared difference: ", listed(left), "; --keep_other keeps biases and norms"));
}

}  // namespace

OptionList fields(LoraExtractOptions& o) {
  OptionList list;
  list.group("Models");
  list.add("tuned", &o.tuned, "The tuned model: a folder in Diffusers' layout, a single file, or a Hub id.").required();
  list.add("base", &o.base, "The model it was made from.").required();
  list.add("variant", &o.variant, "Weights of this variant, of both.");
  list.add("skip_text_encoder", &o.skip_text_encoder, "The UNet only.");
  list.group("Extracting");
  list.add("rank", &o.rank, "Rank of every layer's change.").at_least(1);
  list.add("conv_rank", &o.conv_rank, "Another rank for convolutions larger than 1x1.").at_least(1);
  list.add("min_difference", &o.min_difference, "A tensor none of whose numbers differs by more counts as unchanged.")
      .at_least(0);
  list.add("keep_other", &o.keep_other, "Differences of biases and norms go into the file too, with --to=kohya.");
  list.group("Output");
  list.add("output", &o.output, "File to write.").required().short_name('o');
  add_write_options(list, o.to, o.dtype);
  return list;
}

void lora_extract(const LoraExtractOptions& options) {
  LoraExtractOptions copy = options;
  fields(copy).check();
  const auto writing = write_options(options.to, options.dtype);
  const auto tuned = find_model(options.tuned, std::nullopt, options.variant);
  const auto base = find_model(options.base, std::nullopt, options.variant);
  const auto tuned_unet = open_part(tuned, "unet", options.variant).weights;
  const auto base_unet = open_part(base, "unet", options.variant).weights;
  std::unique_ptr<WeightSource> tuned_text, base_text;
  if (!options.skip_text_encoder) {
    tuned_text = open_part(tuned, "text_encoder", options.variant).weights;
    base_text = open_part(base, "text_encoder", options.variant).weights;
  }
  ExtractOptions extract;
  extract.rank = options.rank;
  extract.conv_rank = options.conv_rank;
  extract.min_difference = options.min_difference;
  extract.keep_other = options.keep_other;
  ExtractedLora extracted;
  {
    WorkBars bars;
    extracted = extract_lora({tuned_unet.get(), base_unet.get()}, {tuned_text.get(), base_text.get()}, extract,
                             [&](int64_t done, int64_t total) {
                               bars.show("Extracting", done, total);
                               return true;
                             });
  }
  tell_truncation(extracted.report.truncation);
  tell_others(extracted.report);
  write_and_tell(options.output, extracted.file, writing);
}

}  // namespace lorikeet
