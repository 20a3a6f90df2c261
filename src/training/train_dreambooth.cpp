#include "training/train_dreambooth.h"

#include <cmath>
#include <optional>

#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "engine/activation_checkpoint.h"
#include "engine/device.h"
#include "lora/lora_file.h"
#include "pipelines/components.h"
#include "training/class_images.h"
#include "training/dreambooth_loss.h"
#include "training/lr_schedule.h"
#include "training/memory_estimate.h"
#include "training/run_state.h"
#include "training/run_trackers.h"
#include "training/validation.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kValidationSteps = 50;  // what a pipeline call takes by default
constexpr int64_t kFinalSteps = 25;       // the script's own choice for the last pictures

/// How many groups of `size` hold `count` things, both at least 1.
int64_t groups_of(int64_t size, int64_t count) { return (count - 1) / size + 1; }

/// Without the sign that some NaN carry.
double unsigned_nan(double value) { return std::isnan(value) ? std::abs(value) : value; }

/// Pictures, models and counts of a run, put together in the order in which the script draws.
class DreamboothRun {
 public:
  DreamboothRun(const TrainDreamboothOptions& options, TrainingObserver& observer, bool dry);

  TrainingPlan plan() const;
  TrainResult train();

 private:
  void open_pictures(bool dry);
  int64_t class_images() const;
  int64_t examples() const;
  int64_t batches_per_epoch() const;
  void count_steps();
  void check_output() const;
  void check_weights() const;
  void resume();
  void train_epoch();
  StepReport micro_step(const PictureBatch& batch, bool sync);
  bool optimizer_step();
  void checkpoint();
  void validate(const std::string& tag, int64_t steps);
  void finish();
  RunParts parts() {
    return {position_, *models_, *optimizer_, scaler_ ? &*scaler_ : nullptr, *loader_, generators_, options_};
  }

  const TrainDreamboothOptions& options_;
  TrainingObserver& observer_;
  TrainingPrecision precision_;
  TrainingGenerators generators_;
  fs::path model_folder_, output_;
  int64_t class_images_to_generate_ = 0;
  std::optional<PictureFolder> instances_, classes_;
  std::optional<DreamboothModels> models_;
  std::optional<DreamboothLoader> loader_;
  int64_t steps_ = 0, epochs_ = 0;
  double base_rate_ = 0;

  std::vector<torch::Tensor> parameters_;
  std::optional<AdamW> optimizer_;
  std::optional<LrSchedule> schedule_;
  std::optional<GradScaler> scaler_;
  std::optional<DreamboothLoss> loss_;
  std::optional<Validator> validator_;
  std::optional<RunTrackers> trackers_;
  RunPosition position_;
  TrainResult result_;
};

DreamboothRun::DreamboothRun(const TrainDreamboothOptions& options, TrainingObserver& observer, bool dry)
    : options_(options), observer_(observer), output_(options.output_dir) {
  lorikeet::validate(options);
  for (const auto& warning : warnings(options)) log_warning(warning);
  precision_ = choose_precision(options);
  model_folder_ = find_model_folder(options.pretrained_model_name_or_path, options.revision, options.variant);
  generators_ = make_training_generators(run_seed(options), precision_.device);
  open_pictures(dry);
  models_ = load_dreambooth_models(model_folder_, options, precision_, generators_);
  parameters_ = models_->trained_parameters();
  loader_.emplace(*instances_, classes_ ? &*classes_ : nullptr, options.train_batch_size, options.center_crop,
                  generators_.cpu);
  count_steps();
  check_output();
}

void DreamboothRun::open_pictures(bool dry) {
  const PictureTransform transform{options_.resolution, parse_interpolation(options_.image_interpolation_mode)};
  instances_.emplace(options_.instance_data_dir, transform);
  instances_->preload(options_.dataloader_num_workers);
  if (!options_.with_prior_preservation) return;
  const int64_t present = count_class_entries(*options_.class_data_dir);
  class_images_to_generate_ = std::max<int64_t>(0, options_.num_class_images - present);
  if (!dry) generate_class_images(model_folder_, options_, precision_, generators_, observer_);
  if (dry && class_images_to_generate_ > 0) return;
  classes_.emplace(*options_.class_data_dir, transform, options_.num_class_images);
  classes_->preload(options_.dataloader_num_workers);
}

/// In a dry run those that are yet to be drawn included.
int64_t DreamboothRun::class_images() const {
  if (classes_) return classes_->size();
  return options_.with_prior_preservation ? options_.num_class_images : 0;
}

int64_t DreamboothRun::examples() const { return std::max(instances_->size(), class_images()); }
int64_t DreamboothRun::batches_per_epoch() const { return groups_of(options_.train_batch_size, examples()); }

void DreamboothRun::count_steps() {
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
void DreamboothRun::check_output() const {
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

/// A last step may have left numbers that no later loss gets to see.
void DreamboothRun::check_weights() const {
  torch::NoGradGuard no_grad;
  for (const auto& parameter : parameters_) {
    if (parameter.isfinite().all().item<bool>()) continue;
    throw NumericError(str("the LoRA holds numbers that are not finite after step ", position_.step,
                           ", so it is not saved; checkpoints already written stay"),
                       "try a lower --learning_rate");
  }
}

TrainingPlan DreamboothRun::plan() const {
  TrainingPlan plan;
  plan.device = device_description(precision_.device);
  plan.precision = options_.mixed_precision.value_or("no") == "no" ? "fp32" : *options_.mixed_precision;
  plan.instance_images = instances_->size();
  plan.class_images = class_images();
  plan.class_images_to_generate = class_images_to_generate_;
  plan.skipped = instances_->skipped();
  if (classes_) plan.skipped.insert(plan.skipped.end(), classes_->skipped().begin(), classes_->skipped().end());
  plan.examples = examples();
  plan.batches_per_epoch = batches_per_epoch();
  plan.epochs = epochs_;
  plan.batch_size = options_.train_batch_size;
  plan.gradient_accumulation_steps = options_.gradient_accumulation_steps;
  plan.steps = steps_;
  plan.adapted_layers = static_cast<int64_t>(models_->unet_lora.size() + models_->text_lora.size());
  for (const auto& parameter : parameters_) plan.trained_parameters += parameter.numel();
  plan.memory_estimate = estimate_training_memory(*models_, options_, precision_, plan.examples);
  return plan;
}

TrainResult DreamboothRun::train() {
  std::error_code error;
  fs::create_directories(output_, error);
  if (error) {
    throw FileError(str("cannot create --output_dir ", output_.string(), ": ", error.message()),
                    "name a folder that you may write to");
  }
  optimizer_.emplace(parameters_, AdamWOptions{options_.adam_beta1, options_.adam_beta2, options_.adam_weight_decay,
                                               options_.adam_epsilon});
  if (precision_.scales_loss) scaler_.emplace(precision_.device);
  loss_.emplace(*models_, options_, precision_, generators_, *instances_, classes_ ? &*classes_ : nullptr);
  validator_.emplace(*models_, options_, precision_);
  if (!options_.train_text_encoder) models_->parts.text_encoder.reset();  // its prompts are encoded
  if (options_.resume_from_checkpoint) resume();
  trackers_.emplace(options_, position_.step);
  observer_.on_start(position_.step, steps_);

  set_training(*models_, true);
  CheckpointedGenerators rewound(generators_.device.device().is_cpu()
                                     ? std::vector<torch::Generator>{generators_.cpu}
                                     : std::vector<torch::Generator>{generators_.cpu, generators_.device});
  while (position_.step < steps_) train_epoch();
  finish();
  return result_;
}

void DreamboothRun::resume() {
  const auto folder = find_checkpoint(output_, *options_.resume_from_checkpoint);
  if (!folder) {
    log_info(str("There is no checkpoint in ", output_.string(), " yet: a new run starts."));
    return;
  }
  log_info(str("Resuming from ", folder->string(), "."));
  restore_run(parts(), read_checkpoint(*folder));
}

void DreamboothRun::train_epoch() {
  if (!position_.in_epoch) {
    loader_->start_epoch();
    position_.in_epoch = true;
  }
  int64_t accumulated = 0;
  bool ended = false;
  while (position_.step < steps_) {
    const auto batch = loader_->next();
    ended = !batch;
    if (ended) break;
    const bool sync = loader_->is_last() || ++accumulated % options_.gradient_accumulation_steps == 0;
    const StepReport report = micro_step(*batch, sync);
    observer_.on_step(report);
    const bool stop = observer_.stop_requested();
    const bool due = sync && position_.step % options_.checkpointing_steps == 0;
    if (due || (sync && stop)) checkpoint();
    if (sync && stop) {
      throw Interrupted(
          str("stopped at step ", position_.step, " of ", steps_, " on request; a checkpoint is in ", output_.string()),
          "the same command with --resume_from_checkpoint=latest goes on from here");
    }
  }
  const int64_t epoch = position_.epoch;
  if (ended) {
    position_.in_epoch = false;
    ++position_.epoch;
  }
  if (options_.validation_prompt && epoch % options_.validation_epochs == 0) validate("validation", kValidationSteps);
}

StepReport DreamboothRun::micro_step(const PictureBatch& batch, bool sync) {
  const auto loss = (*loss_)(batch);
  StepReport report;
  report.total = steps_;
  report.loss = loss.item<double>();
  if (!std::isfinite(report.loss)) {
    throw NumericError(str("the loss of step ", position_.step + 1, " is ", unsigned_nan(report.loss),
                           "; checkpoints already written stay"),
                       precision_.scales_loss ? "try a lower --learning_rate, or train without --mixed_precision=fp16"
                                              : "try a lower --learning_rate");
  }
  const auto share = loss / options_.gradient_accumulation_steps;
  (scaler_ ? scaler_->scale_loss(share) : share).backward();
  if (sync) {
    report.optimizer_stepped = optimizer_step();
    ++position_.step;
  }
  report.step = position_.step;
  report.learning_rate = schedule_->rate(position_.lr_steps);
  trackers_->log_scalars({{"loss", report.loss}, {"lr", report.learning_rate}}, report.step);
  result_.last_loss = report.loss;
  return report;
}

/// Clips, steps, moves the learning rate on; false when fp16 overflowed and the step was left out.
bool DreamboothRun::optimizer_step() {
  bool finite = true;
  if (scaler_) {
    std::vector<torch::Tensor> gradients;
    for (const auto& parameter : parameters_) {
      if (parameter.grad().defined()) gradients.push_back(parameter.grad());
    }
    finite = scaler_->unscale(gradients);
  }
  const auto norm = clip_gradient_norm(parameters_, options_.max_grad_norm);
  if (!scaler_ && !std::isfinite(norm.item<double>())) {
    throw NumericError(str("the gradient's norm at step ", position_.step + 1, " is ",
                           unsigned_nan(norm.item<double>()), "; checkpoints already written stay"),
                       "try a lower --learning_rate");
  }
  if (finite) {
    optimizer_->step(schedule_->rate(position_.lr_steps));
    ++position_.lr_steps;
  }
  if (scaler_) scaler_->update();
  optimizer_->zero_grad();
  return finite;
}

void DreamboothRun::checkpoint() {
  check_weights();
  write_checkpoint(output_, position_.step, save_run(parts()), [&](const fs::path& folder) {
    write_lora_file(folder / kLoraFileName, models_->unet_lora, models_->text_lora);
  });
  if (options_.checkpoints_total_limit) {
    prune_checkpoints(output_, *options_.checkpoints_total_limit, position_.step);
  }
  observer_.on_checkpoint((output_ / str("checkpoint-", position_.step)).string());
}

void DreamboothRun::validate(const std::string& tag, int64_t steps) {
  if (options_.num_validation_images == 0) return;
  const auto images = validator_->draw(steps, observer_);
  const bool is_final = tag == "test";
  const auto folder = output_ / "validation" / (is_final ? std::string("final") : str("step-", position_.step));
  result_.validation_images = save_validation_images(folder, images);
  trackers_->log_images(tag, images, *options_.validation_prompt, position_.epoch);
}

void DreamboothRun::finish() {
  check_weights();
  result_.lora_file = output_ / kLoraFileName;
  write_lora_file(result_.lora_file, models_->unet_lora, models_->text_lora);
  result_.steps = position_.step;
  if (options_.validation_prompt) validate("test", kFinalSteps);
  trackers_->finish();
  result_.peak_memory = peak_memory_bytes(precision_.device);
}

}  // namespace

TrainingPlan plan_dreambooth(const TrainDreamboothOptions& options) {
  TrainingObserver silent;
  return DreamboothRun(options, silent, /*dry=*/true).plan();
}

TrainResult train_dreambooth(const TrainDreamboothOptions& options, TrainingObserver& observer) {
  DreamboothRun run(options, observer, /*dry=*/false);
  observer.on_plan(run.plan());
  return run.train();
}

}  // namespace lorikeet
