// The loop: epochs, batches, steps.
#include "training/training_run.h"

#include <cmath>

#include "core/errors.h"
#include "core/listed.h"
#include "core/log.h"
#include "core/text.h"
#include "engine/activation_checkpoint.h"
#include "training/gradient_clipping.h"
#include "training/run_state_json.h"

namespace lorikeet {
namespace {

/// Without the sign that some NaN carry.
double unsigned_nan(double value) { return std::isnan(value) ? std::abs(value) : value; }

std::vector<torch::Tensor> values_of(const std::vector<TrainedParameter>& parameters) {
  std::vector<torch::Tensor> values;
  for (const auto& parameter : parameters) values.push_back(parameter.value);
  return values;
}

}  // namespace

TrainResult TrainingRun::train() {
  open_output();
  make_optimizer();
  loss_.emplace(*models_, options_, context_.precision, context_.generators, context_.sets,
                recipe_.prior_loss_weight());
  validator_.emplace(*models_, options_, context_.precision, manner_.validation_scheduler);
  dataset_ = dataset_json(context_.sets);
  if (options_.resume_from_checkpoint) resume();
  observer_.on_ready();
  encode_ahead();
  trackers_.emplace(options_, manner_.tracker, options_json_.dump(), position_.step, position_.logged);
  observer_.on_start(position_.step, steps_);
  try {
    train_epochs();
    finish();
  } catch (const Interrupted&) {
    trackers_->finish(130);
    throw;
  } catch (...) {
    trackers_->finish(1);
    throw;
  }
  return result_;
}

void TrainingRun::train_epochs() {
  set_training(*models_, true);
  auto& generators = context_.generators;
  CheckpointedGenerators rewound(generators.device.device().is_cpu()
                                     ? std::vector<torch::Generator>{generators.cpu}
                                     : std::vector<torch::Generator>{generators.cpu, generators.device});
  stop_early_ =
      options_.early_stopping_patience && position_.validations_since_best >= *options_.early_stopping_patience;
  // What follows the last step's epoch may be missing where the run was killed behind that step's checkpoint.
  if (position_.step >= steps_ && position_.in_epoch) train_epoch();
  while (position_.step < steps_ && !stop_early_) train_epoch();
}

void TrainingRun::train_epoch() {
  if (!position_.in_epoch) {
    loader_->start_epoch();
    position_.in_epoch = true;
  }
  int64_t accumulated = 0;
  bool ended = false;
  while (position_.step < steps_ && !stop_early_) {
    const auto batch = loader_->next();
    ended = !batch;
    if (ended) break;
    const bool sync = loader_->is_last() || ++accumulated % options_.gradient_accumulation_steps == 0;
    observer_.on_step(micro_step(*batch, sync));
    after_step(sync);
  }
  if (stop_early_) return;
  if (validation_loss_ && !options_.validation_loss_steps) measure_validation();
  if (!options_.validation_steps && position_.epoch % options_.validation_epochs == 0) {
    draw_validation("validation", manner_.validation_steps);
  }
  if (!ended || stop_early_) return;  // the run's last epoch
  position_.in_epoch = false;
  ++position_.epoch;
}

StepReport TrainingRun::micro_step(const PictureBatch& batch, bool sync) {
  const auto loss = (*loss_)(batch);
  StepReport report;
  report.total = steps_;
  report.loss = loss.item<double>();
  for (const auto& picture : batch) {
    step_pictures_.push_back(context_.sets[static_cast<size_t>(picture.set)]->record(picture.index).name);
  }
  if (std::isfinite(report.loss)) {
    const auto share = loss / options_.gradient_accumulation_steps;
    (scaler_ ? scaler_->scale_loss(share) : share).backward();
  } else if (!step_failed_) {
    step_failed_ = true;
    step_loss_ = report.loss;
  }
  if (!step_failed_) step_loss_ += report.loss / static_cast<double>(options_.gradient_accumulation_steps);
  if (sync) {
    report.optimizer_stepped = optimizer_step();
    ++position_.step;
  }
  report.step = position_.step;
  report.learning_rate = optimizer_->effective_rate(schedule_->rate(position_.lr_steps));
  log_step(report, sync);
  result_.last_loss = report.loss;
  return report;
}

/// Clips, steps, moves the learning rate on; false when the step was left out, by fp16's scaler or for numbers that are
/// not finite.
bool TrainingRun::optimizer_step() {
  const auto values = values_of(parameters_);
  bool finite = !step_failed_;
  if (step_failed_) {
    skip_step("loss", step_loss_);
  } else if (scaler_) {
    std::vector<torch::Tensor> gradients;
    for (const auto& value : values) {
      if (value.grad().defined()) gradients.push_back(value.grad());
    }
    finite = scaler_->unscale(gradients);
    // A scale that is this small enlarges nothing: the gradients were not finite before it.
    if (!finite && scaler_->scale() <= 1) skip_step("gradient's norm", NAN);
  }
  if (finite) {
    // The script's clipping finds no gradients; its norm is looked at all the same.
    const bool clips = !(manner_.script_clips_nothing && options_.compat_bugs);
    const auto norm =
        (clips ? clip_gradient_norm(values, options_.max_grad_norm) : gradient_norm(values)).item<double>();
    finite = std::isfinite(norm);
    if (!finite) skip_step("gradient's norm", norm);
  }
  if (finite) {
    optimizer_->step(schedule_->rate(position_.lr_steps));
    ++position_.lr_steps;
    position_.skipped_in_row = 0;
    if (average_) average_->update();
  }
  if (scaler_ && !step_failed_) scaler_->update();
  optimizer_->zero_grad();
  return finite;
}

/// Counts a step whose numbers are not finite and names its pictures; ends the run when there were too many in a row.
void TrainingRun::skip_step(const std::string& what, double value) {
  ++position_.skipped;
  ++position_.skipped_in_row;
  const auto said = str("the ", what, " of step ", position_.step + 1, " is ", unsigned_nan(value),
                        " (pictures: ", listed(step_pictures_), ")");
  if (position_.skipped_in_row < options_.max_nonfinite_steps) {
    log_warning(str(said, ": the step is left out"));
    return;
  }
  throw NumericError(str(said, ", for ", position_.skipped_in_row,
                         " steps in a row: the run ends, and checkpoints "
                         "already written stay"),
                     context_.precision.scales_loss
                         ? "try a lower --learning_rate, or train without --mixed_precision=fp16"
                         : "try a lower --learning_rate, and look at the pictures named");
}

void TrainingRun::log_step(const StepReport& report, bool sync) {
  if (manner_.logs_batches) {
    trackers_->log_scalars({{"loss", report.loss}, {"lr", report.learning_rate}}, report.step);
  } else if (sync) {
    trackers_->log_scalars({{"train_loss", step_loss_}, {"lr", report.learning_rate}}, report.step);
  }
  if (!sync) return;
  step_loss_ = 0;
  step_failed_ = false;
  step_pictures_.clear();
}

/// What is due at this step: validation, a checkpoint, an end.
void TrainingRun::after_step(bool sync) {
  const bool stop = observer_.stop_requested();
  if (!sync) return;
  if (options_.validation_loss_steps && position_.step % *options_.validation_loss_steps == 0) measure_validation();
  if (options_.validation_steps && position_.step % *options_.validation_steps == 0) {
    draw_validation("validation", manner_.validation_steps);
  }
  if (stop || position_.step % options_.checkpointing_steps == 0) checkpoint();
  if (!stop) return;
  throw Interrupted(
      str("stopped at step ", position_.step, " of ", steps_, " on request; a checkpoint is in ", output_.string()),
      "the same command with --resume_from_checkpoint=latest goes on from here");
}

}  // namespace lorikeet
