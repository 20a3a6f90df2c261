#include "training/train_text_to_image.h"

#include <algorithm>

#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "data/buckets.h"
#include "data/caption_loader.h"
#include "data/dataset_by_name.h"
#include "data/picture_dataset.h"
#include "data/preflight.h"
#include "training/recipe.h"
#include "training/run_folders.h"

namespace lorikeet {
namespace {

class TextToImageRecipe : public Recipe {
 public:
  explicit TextToImageRecipe(const TrainTextToImageOptions& options) : options_(options) {
    validate(options_);
    for (const auto& warning : warnings(options_)) log_warning(warning);
    if (options_.bucket) check_buckets(bucket_options());
  }

  const TrainOptions& options() const override { return options_; }
  std::string options_json() const override {
    auto copy = options_;
    return fields(copy).to_json();
  }
  Manner manner() const override {
    Manner manner;
    manner.tracker = "text2image-fine-tune";
    manner.validation_steps = manner.final_validation_steps = 30;
    manner.script_clips_nothing = true;
    return manner;
  }

  void open(RunContext& context) override;
  std::vector<std::string> prompts() const override { return {}; }
  std::unique_ptr<Loader> make_loader(RunContext& context) override;
  std::string validation_caption(const PictureRecord& record) const override {
    auto plain = caption_options();
    plain.shuffle = false;
    plain.dropout_rate = 0;
    return possible_captions(record.captions, plain).front();
  }
  Inputs inputs(const RunContext& context, const Loader& loader) const override;
  void describe(const RunContext& context, TrainingPlan& plan) const override;

 private:
  BucketOptions bucket_options() const {
    return {options_.resolution, options_.min_bucket_reso, options_.max_bucket_reso, options_.bucket_reso_steps,
            options_.bucket_no_upscale};
  }
  CaptionOptions caption_options() const {
    return {options_.caption_prefix.value_or(""), options_.caption_dropout_rate, options_.shuffle_caption,
            options_.keep_tokens, options_.caption_separator};
  }
  PictureDataset read_dataset(RunContext& context) const;
  void take_samples(std::vector<PictureRecord>& records) const;
  void check(RunContext& context, PictureDataset& dataset) const;
  void sort_into_buckets(PictureSet& set) const;

  const TrainTextToImageOptions& options_;
  std::string kind_;
};

PictureDataset TextToImageRecipe::read_dataset(RunContext& context) const {
  DatasetRequest request;
  if (options_.dataset_name) {
    auto named = find_dataset(*options_.dataset_name,
                              {options_.dataset_config_name, options_.train_data_dir.value_or(""), request.split});
    request.folder = std::move(named.folder);
    request.files = std::move(named.selection.files);
    request.from_stranger = named.is_fetched;
  } else {
    request.folder = *options_.train_data_dir;
  }
  request.image_column = options_.image_column;
  request.caption_column = options_.caption_column;
  request.cache_dir = cache_folder(options_) / "pictures";
  request.default_caption = options_.default_caption;
  request.masks = options_.masked_loss;
  request.progress = [&](int64_t done, int64_t total) { context.observer.on_work("Reading Parquet", done, total); };
  auto dataset = open_picture_dataset(request);
  if (options_.dataset_name) dataset.kind += " of " + *options_.dataset_name;
  return dataset;
}

/// As datasets' shuffle(seed).select(range(n)) does it; without a seed the same ones each time, so that a resumed run
/// finds its pictures.
void TextToImageRecipe::take_samples(std::vector<PictureRecord>& records) const {
  if (!options_.max_train_samples) return;
  const auto count = static_cast<int64_t>(records.size());
  if (*options_.max_train_samples > count) {
    throw UsageError(
        str("--max_train_samples is ", *options_.max_train_samples, ", but the data set has ", count, " pictures"),
        "leave it out to train on all of them");
  }
  auto order = numpy_permutation(run_seed(options_).value_or(0), count);
  order.resize(static_cast<size_t>(*options_.max_train_samples));
  std::vector<PictureRecord> taken;
  for (const int64_t index : order) taken.push_back(std::move(records[static_cast<size_t>(index)]));
  records = std::move(taken);
}

void TextToImageRecipe::check(RunContext& context, PictureDataset& dataset) const {
  PreflightOptions preflight;
  preflight.resolution = options_.resolution;
  preflight.full_decode = true;
  preflight.threads = std::max<int64_t>(1, options_.dataloader_num_workers);
  const auto tokenizer = load_tokenizer(context.model);
  preflight.most_tokens = tokenizer->model_max_length();
  preflight.count_tokens = [&](const std::string& caption) {
    return static_cast<int64_t>(tokenizer->encode(caption).size());
  };
  preflight.stop = [&] { return context.observer.stop_requested(); };
  const auto report = check_pictures(dataset.records, preflight, [&](int64_t done, int64_t total) {
    context.observer.on_work("Checking pictures", done, total);
  });
  if (report.stopped) throw Interrupted("stopped while the pictures were checked, on request");
  context.observer.on_preflight(dataset, report);
  const auto refuse = [](const NameList& bad, const char* what) {
    if (bad.count == 0) return;
    std::string names;
    for (const auto& name : bad.names) names += (names.empty() ? "" : "; ") + name;
    throw FormatError(str(bad.count, what, names, bad.count > static_cast<int64_t>(bad.names.size()) ? " ..." : ""),
                      "fetch them again, or take them out of the data set");
  };
  refuse(report.unreadable, " of the pictures cannot be read: ");
  if (options_.masked_loss) refuse(report.bad_masks, " of the masks cannot be used: ");
}

void TextToImageRecipe::sort_into_buckets(PictureSet& set) const {
  if (!options_.bucket) return;
  const auto options = bucket_options();
  const auto buckets = make_buckets(options);
  std::vector<PictureSet::Fit> fits;
  for (const auto& record : set.records()) {
    const auto [bucket, scaled] = fit_bucket(buckets, {record.width, record.height}, options);
    fits.push_back({{scaled.height, scaled.width}, {bucket.height, bucket.width}});
  }
  set.set_fits(std::move(fits));
}

void TextToImageRecipe::open(RunContext& context) {
  auto dataset = read_dataset(context);
  take_samples(dataset.records);
  check(context, dataset);
  kind_ = dataset.kind;
  const PictureTransform transform{options_.resolution, parse_interpolation(options_.image_interpolation_mode)};
  context.sets.push_back(std::make_unique<PictureSet>(std::move(dataset.records), transform));
  sort_into_buckets(*context.sets.back());
  context.sets.back()->start_ahead(options_.dataloader_num_workers);
}

std::unique_ptr<Loader> TextToImageRecipe::make_loader(RunContext& context) {
  CaptionLoader::Options loader;
  loader.batch_size = options_.train_batch_size;
  loader.center_crop = options_.center_crop;
  loader.random_flip = options_.random_flip;
  loader.buckets = options_.bucket;
  loader.captions = caption_options();
  return std::make_unique<CaptionLoader>(context.sets, loader, context.generators.cpu, context.python_random);
}

Recipe::Inputs TextToImageRecipe::inputs(const RunContext&, const Loader& loader) const {
  const auto& captions = dynamic_cast<const CaptionLoader&>(loader);
  return {captions.all_cuts(), captions.all_texts()};
}

void TextToImageRecipe::describe(const RunContext& context, TrainingPlan& plan) const {
  plan.pictures = str(context.sets[0]->size(), " with captions, by ", kind_);
}

}  // namespace

TrainingPlan plan_text_to_image(const TrainTextToImageOptions& options, TrainingObserver& observer) {
  TextToImageRecipe recipe(options);
  return plan_training(recipe, observer);
}

TrainResult train_text_to_image(const TrainTextToImageOptions& options, TrainingObserver& observer) {
  TextToImageRecipe recipe(options);
  return train(recipe, observer);
}

}  // namespace lorikeet
