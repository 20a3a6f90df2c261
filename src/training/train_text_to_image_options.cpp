#include "training/train_text_to_image_options.h"

#include "core/errors.h"
#include "core/text.h"
#include "training/train_option_checks.h"
#include "training/train_option_groups.h"

namespace lorikeet {
namespace {

void add_data(OptionList& list, TrainTextToImageOptions& o) {
  list.group("Pictures and captions");
  list.add("train_data_dir", &o.train_data_dir,
           "Folder with the pictures and their captions: metadata.jsonl or metadata.csv, NAME.txt or NAME.caption "
           "beside each picture, kohya's N_name folders, or Parquet files. With --dataset_name, a folder within it.");
  list.add("dataset_name", &o.dataset_name,
           "Data set by its Hugging Face id, or the folder of one, read as its card says.");
  list.add("dataset_config_name", &o.dataset_config_name, "Which of the data set's configurations, with an id.");
  list.add("image_column", &o.image_column, "Column of a Parquet file that holds the pictures.");
  list.add("caption_column", &o.caption_column, "Column of the metadata or the Parquet file that holds the captions.");
  list.add("max_train_samples", &o.max_train_samples, "Train on so many pictures only, drawn by --seed.").at_least(1);
  add_picture_options(list, o);
  list.add("random_flip", &o.random_flip, "Turn every other picture, by chance, into its mirror image.");
}

void add_captions(OptionList& list, TrainTextToImageOptions& o) {
  list.group("Captions");
  list.add("default_caption", &o.default_caption, "The caption of pictures that have none; unset refuses them.");
  list.add("caption_prefix", &o.caption_prefix, "Put this text, and a blank, before every caption.");
  list.add("caption_dropout_rate", &o.caption_dropout_rate,
           "Share of the captions that are left empty, so that guidance goes on working.")
      .at_least(0)
      .at_most(1);
  list.add("shuffle_caption", &o.shuffle_caption, "Shuffle the parts of each caption, anew each time.");
  list.add("keep_tokens", &o.keep_tokens, "So many parts at the front keep their place in a shuffle.").at_least(0);
  list.add("caption_separator", &o.caption_separator, "What separates the parts of a caption.");
}

void add_buckets(OptionList& list, TrainTextToImageOptions& o) {
  list.group("Aspect-ratio buckets");
  list.add("bucket", &o.bucket,
           "Train pictures at about their own aspect ratio: each goes to the nearest of a list of sizes with the area "
           "of --resolution squared, and batches hold one size.");
  list.add("bucket_reso_steps", &o.bucket_reso_steps, "Sides of buckets are multiples of this.")
      .at_least(8)
      .multiple_of(8);
  list.add("min_bucket_reso", &o.min_bucket_reso, "The shortest side of a bucket.").at_least(8);
  list.add("max_bucket_reso", &o.max_bucket_reso, "The longest side of a bucket.").at_least(8);
  list.add("bucket_no_upscale", &o.bucket_no_upscale,
           "Never enlarge a picture: small ones get a bucket of their size.");
}

}  // namespace

OptionList fields(TrainTextToImageOptions& options) {
  OptionList list;
  add_model_options(list, options);
  add_data(list, options);
  add_captions(list, options);
  add_buckets(list, options);
  add_encode_options(list, options);
  add_lora_options(list, options);
  add_loss_options(list, options);
  add_length_options(list, options);
  add_optimizer_options(list, options);
  add_machine_options(list, options);
  add_output_options(list, options);
  add_validation_options(list, options);
  add_hub_options(list, options);
  add_lorikeet_options(list, options);
  return list;
}

void validate(const TrainTextToImageOptions& options) {
  TrainTextToImageOptions copy = options;
  fields(copy).check();
  check_text("default_caption", options.default_caption);
  check_text("caption_prefix", options.caption_prefix);
  check_text("caption_separator", options.caption_separator);
  if (options.dataset_name.value_or("").empty() && options.train_data_dir.value_or("").empty()) {
    throw UsageError("--train_data_dir or --dataset_name is required",
                     "give the folder with the pictures and their captions, or the data set's Hugging Face id");
  }
  if (options.bucket && options.min_bucket_reso > options.max_bucket_reso) {
    throw UsageError(str("--min_bucket_reso is ", options.min_bucket_reso, ", expected at most --max_bucket_reso, ",
                         options.max_bucket_reso),
                     "give a range that --resolution lies in");
  }
  if (options.shuffle_caption && options.caption_separator.empty()) {
    throw UsageError("--caption_separator: a text expected, found ''", "a comma is usual");
  }
  validate_shared(options);
  if (options.device == "cpu") validate_for_device(options, true);
}

std::vector<std::string> warnings(const TrainTextToImageOptions& options) {
  std::vector<std::string> notes;
  const TrainTextToImageOptions defaults;
  const auto note = [&](bool when, const char* text) {
    if (when) notes.emplace_back(text);
  };
  note(options.dataset_config_name && !options.dataset_name,
       "--dataset_config_name has no effect without --dataset_name");
  note(!options.shuffle_caption && options.keep_tokens > 0, "--keep_tokens has no effect without --shuffle_caption");
  note(!options.bucket &&
           (options.bucket_no_upscale || options.bucket_reso_steps != defaults.bucket_reso_steps ||
            options.min_bucket_reso != defaults.min_bucket_reso || options.max_bucket_reso != defaults.max_bucket_reso),
       "--bucket_no_upscale, --bucket_reso_steps, --min_bucket_reso and --max_bucket_reso have no effect without "
       "--bucket");
  const auto shared = shared_warnings(options);
  notes.insert(notes.end(), shared.begin(), shared.end());
  return notes;
}

}  // namespace lorikeet
