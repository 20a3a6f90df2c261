// Everything before the first step.
#include <algorithm>
#include <random>
#include <set>

#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "engine/device.h"
#include "pipelines/components.h"
#include "training/memory_estimate.h"
#include "training/resume_diffusers.h"
#include "training/run_state_json.h"
#include "training/training_run.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

/// How many groups of `size` hold `count` things, both at least 1.
int64_t groups_of(int64_t size, int64_t count) { return (count - 1) / size + 1; }

uint64_t python_seed(const TrainOptions& options) {
  if (const auto seed = run_seed(options)) return *seed;
  return std::random_device{}();
}

OptimizerOptions optimizer_options(const TrainOptions& options) {
  OptimizerOptions chosen;
  chosen.name = options.optimizer_name();
  const TrainOptions defaults;
  const bool is_adam = chosen.name == "adamw" || chosen.name == "adamw8bit";
  // Another optimizer's own defaults hold, unless the flag says something else than Adam's default.
  const auto take = [&](std::optional<double>& member, double value, double initial) {
    if (is_adam || value != initial) member = value;
  };
  take(chosen.beta1, options.adam_beta1, defaults.adam_beta1);
  take(chosen.beta2, options.adam_beta2, defaults.adam_beta2);
  take(chosen.weight_decay, options.adam_weight_decay, defaults.adam_weight_decay);
  take(chosen.epsilon, options.adam_epsilon, defaults.adam_epsilon);
  return chosen;
}

}  // namespace

TrainingRun::TrainingRun(Recipe& recipe, TrainingObserver& observer, bool dry)
    : recipe_(recipe),
      options_(recipe.options()),
      manner_(recipe.manner()),
      observer_(observer),
      context_{observer, dry, {}, {}, {}, PythonRandom(python_seed(options_)), {}},
      output_(options_.output_dir),
      options_json_(nlohmann::json::parse(recipe.options_json())) {
  // A checkpoint says which layers were trained, also where that was left to the algorithm.
  options_json_["target_modules"] = options_.unet_targets();
  options_json_["text_encoder_target_modules"] = options_.text_encoder_targets();
  if (options_.override_options) {
    check_overrides(*options_.override_options, options_json_);
    overridable_.insert(options_.override_options->begin(), options_.override_options->end());
  }
  with_defaults(optimizer_options(options_));
  check_trackers(options_);
  check_output();
  context_.precision = choose_precision(options_);
  context_.model = find_model(options_.pretrained_model_name_or_path, options_.revision, options_.variant,
                              options_.single_file_config);
  context_.generators = make_training_generators(run_seed(options_), context_.precision.device);
  if (options_.draws_validation_images()) validation_prompts(options_);
  recipe_.open(context_);
  hold_out_pictures();
  models_ = load_training_models(context_.model, options_, context_.precision, context_.generators, recipe_.prompts());
  parameters_ = models_->trained_parameters(options_.lora_plus_ratio);
  loader_ = recipe_.make_loader(context_);
  examples_ = recipe_.examples(context_, *loader_);
  count_steps();
}

/// They stay in their set, where the loader passes over what counts no times.
void TrainingRun::hold_out_pictures() {
  if (options_.validation_split <= 0) return;
  PictureSet& set = *context_.sets.at(0);
  std::vector<PictureRef> pictures;
  for (const int64_t index : held_out_pictures(set.size(), options_.validation_split, run_seed(options_).value_or(0))) {
    set.hold_out(index);
    pictures.push_back({0, index, set.center_crop(index), false, recipe_.validation_caption(set.record(index))});
  }
  validation_loss_.emplace(std::move(pictures));
}

int64_t TrainingRun::batches_per_epoch() const {
  return examples_ == loader_->examples() ? loader_->batches_per_epoch()
                                          : groups_of(options_.train_batch_size, examples_);
}

void TrainingRun::count_steps() {
  const int64_t group = options_.gradient_accumulation_steps;
  const int64_t per_epoch = groups_of(group, batches_per_epoch());
  if (!options_.max_train_steps && options_.num_train_epochs > INT64_MAX / per_epoch) {
    throw UsageError(str("--num_train_epochs is ", options_.num_train_epochs, ": that many steps cannot be counted"),
                     "give fewer epochs, or --max_train_steps");
  }
  steps_ = options_.max_train_steps ? *options_.max_train_steps : options_.num_train_epochs * per_epoch;
  epochs_ = groups_of(per_epoch, steps_);
  base_rate_ = options_.learning_rate;
  if (options_.scale_lr) base_rate_ *= static_cast<double>(group) * static_cast<double>(options_.train_batch_size);
  schedule_.emplace(LrScheduleOptions{options_.lr_scheduler, base_rate_, options_.lr_warmup_steps, steps_,
                                      options_.lr_num_cycles, options_.lr_power});
}

/// What can be told before the work: that a file is where a folder has to be.
void TrainingRun::check_output() const {
  std::error_code error;
  for (auto folder = output_; !folder.empty(); folder = folder.parent_path()) {
    if (fs::is_directory(folder, error)) return;
    if (fs::exists(folder, error)) {
      throw FileError(str("cannot create --output_dir ", output_.string(), ": ", folder.string(), " is a file"),
                      "name another folder, or move the file");
    }
    if (folder == folder.parent_path()) return;
  }
}

void TrainingRun::open_output() const {
  std::error_code error;
  fs::create_directories(output_, error);
  if (error) {
    throw FileError(str("cannot create --output_dir ", output_.string(), ": ", error.message()),
                    "name a folder that you may write to");
  }
}

TrainingPlan TrainingRun::plan() const {
  TrainingPlan plan;
  plan.device = device_description(context_.precision.device);
  plan.precision = options_.mixed_precision.value_or("no") == "no" ? "fp32" : *options_.mixed_precision;
  recipe_.describe(context_, plan);
  if (validation_loss_) plan.held_out = static_cast<int64_t>(validation_loss_->pictures().size());
  plan.examples = examples_;
  plan.batches_per_epoch = batches_per_epoch();
  plan.epochs = epochs_;
  plan.batch_size = options_.train_batch_size;
  plan.gradient_accumulation_steps = options_.gradient_accumulation_steps;
  plan.steps = steps_;
  plan.adapted_layers = static_cast<int64_t>(models_->unet_lora.size() + models_->text_lora.size());
  for (const auto& parameter : parameters_) plan.trained_parameters += parameter.value.numel();
  plan.memory_estimate = estimate_training_memory(*models_, options_, context_.precision, examples_,
                                                  recipe_.prior_loss_weight().has_value());
  return plan;
}

void TrainingRun::make_optimizer() {
  optimizer_ = lorikeet::make_optimizer(optimizer_options(options_), parameters_);
  if (context_.precision.scales_loss) scaler_.emplace(context_.precision.device);
  if (options_.use_ema) average_.emplace(parameters_, options_.ema_decay);
}

void TrainingRun::resume() {
  const auto folder = find_checkpoint(output_, *options_.resume_from_checkpoint);
  if (!folder) {
    log_info(str("There is no checkpoint in ", output_.string(), " yet: a new run starts."));
    return;
  }
  log_info(str("Resuming from ", folder->string(), "."));
  if (const auto known = list_checkpoints(output_); !known.empty() && known.back().second != *folder) {
    log_warning(str(known.back().second.filename().string(),
                    " is of a run that went further: --resume_from_checkpoint=",
                    "latest will mean that one until this run has passed it; remove it if it is not wanted"));
  }
  if (!is_diffusers_checkpoint(*folder)) {
    restore_run(parts(), read_checkpoint(*folder));
    return;
  }
  restore_diffusers_run(parts(), options_, *folder);
  position_.epoch = position_.step / groups_of(options_.gradient_accumulation_steps, batches_per_epoch());
  log_info("It is one of Diffusers' own, which do not say where in the epoch it was made: the epoch begins anew.");
}

/// Once all inputs are known and encoded, the models that encode leave memory. Inputs that a short run would never
/// come to are not encoded for that.
void TrainingRun::encode_ahead() {
  if (options_.encode_memory == "off") return;
  auto inputs = recipe_.inputs(context_, *loader_);
  const double seen = static_cast<double>(steps_ - position_.step) *
                      static_cast<double>(options_.gradient_accumulation_steps) *
                      static_cast<double>(std::min(options_.train_batch_size, examples_));
  // The batch that a checkpoint holds may have been drawn under options that --override has changed since.
  auto others = loader_->state().pending.value_or(PictureBatch{});
  if (validation_loss_) {
    const auto& held_out = validation_loss_->pictures();
    others.insert(others.end(), held_out.begin(), held_out.end());
  }
  for (const auto& picture : others) {
    if (!inputs.cuts.empty()) inputs.cuts.push_back(picture);
    if (!inputs.texts.empty()) inputs.texts.push_back(picture.caption);
  }
  if (static_cast<double>(inputs.cuts.size()) <= seen) encode_cuts(inputs.cuts);
  if (static_cast<double>(inputs.texts.size()) <= std::max(seen, 2.0)) encode_texts(inputs.texts);
}

void TrainingRun::encode_cuts(const std::vector<PictureRef>& cuts) {
  if (cuts.empty()) return;
  const auto about = context_.sets.at(0)->target(cuts.front().index);  // buckets have all about the same area
  if (!loss_->latents().has_room_for(static_cast<int64_t>(cuts.size()), about)) return;
  const std::string what = "Encoding pictures";
  const auto total = static_cast<int64_t>(cuts.size());
  bool all = true;
  for (int64_t i = 0; i < total; ++i) {
    all &= loss_->latents().remember(cuts[static_cast<size_t>(i)]);
    observer_.on_work(what, i + 1, total);
    if (observer_.stop_requested()) throw Interrupted("stopped before the first step on request");
  }
  if (!all || options_.draws_validation_images()) return;  // pictures are decoded by the VAE too
  const bool one_row = options_.train_batch_size == 1 && !recipe_.prior_loss_weight();
  loss_->latents().release_vae(cuts.front(), one_row ? 1 : 2);
  models_->parts.vae.reset();
  for (const auto& set : context_.sets) set->let_go();
}

void TrainingRun::encode_texts(const std::vector<std::string>& texts) {
  if (texts.empty() || options_.train_text_encoder) return;
  const std::set<std::string> distinct(texts.begin(), texts.end());
  if (!loss_->texts().has_room_for(distinct.size())) return;
  bool all = true;
  int64_t done = 0;
  for (const auto& text : distinct) {
    all &= loss_->texts().remember(text);
    if (distinct.size() > 2) observer_.on_work("Encoding captions", ++done, static_cast<int64_t>(distinct.size()));
    if (observer_.stop_requested()) throw Interrupted("stopped before the first step on request");
  }
  if (!all) return;
  loss_->texts().release();
  models_->parts.text_encoder.reset();
}

}  // namespace lorikeet
