// What a run leaves behind: checkpoints, validation, the LoRA itself.
#include <cmath>

#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "engine/device.h"
#include "lora/lora_writer.h"
#include "training/checkpoint.h"
#include "training/training_run.h"

namespace lorikeet {
namespace fs = std::filesystem;

/// A last step may have left numbers that no later loss gets to see.
void TrainingRun::check_weights() const {
  torch::NoGradGuard no_grad;
  for (const auto& parameter : parameters_) {
    if (parameter.value.isfinite().all().item<bool>()) continue;
    throw NumericError(str("the LoRA holds numbers that are not finite after step ", position_.step,
                           ", so it is not saved; checkpoints already written stay"),
                       "try a lower --learning_rate");
  }
}

void TrainingRun::write_lora(const fs::path& file) {
  UsableWeights usable(parameters_, *optimizer_, average_ ? &*average_ : nullptr);
  LoraFile lora;
  lora.unet = layer_changes(models_->unet_lora);
  lora.text_encoder = layer_changes(models_->text_lora);
  LoraWriteOptions options;
  options.dialect = natural_dialect(lora);
  write_lora_file(file, lora, options);
}

void TrainingRun::checkpoint() {
  check_weights();
  position_.logged = trackers_->logged();
  write_checkpoint(output_, position_.step, save_run(parts()),
                   [&](const fs::path& folder) { write_lora(folder / kLoraFileName); });
  if (options_.checkpoints_total_limit) {
    prune_checkpoints(output_, *options_.checkpoints_total_limit, position_.step);
  }
  observer_.on_checkpoint((output_ / str("checkpoint-", position_.step)).string());
}

void TrainingRun::draw_validation(const std::string& tag, int64_t steps) {
  if (!options_.draws_validation_images() || options_.num_validation_images == 0) return;
  Validator::Drawn drawn;
  {
    UsableWeights usable(parameters_, *optimizer_, average_ ? &*average_ : nullptr);
    EvaluationMode evaluation(*models_);
    drawn = validator_->draw(steps, observer_);
  }
  const bool is_final = tag == "test";
  const auto folder = output_ / "validation" / (is_final ? std::string("final") : str("step-", position_.step));
  result_.validation_images = save_validation_images(folder, drawn.images);
  // By epoch, as the scripts count them; several within one would hide each other.
  trackers_->log_images(tag, drawn.images, drawn.prompts, options_.validation_steps ? position_.step : position_.epoch);
}

void TrainingRun::measure_validation() {
  double loss = 0;
  {
    UsableWeights usable(parameters_, *optimizer_, average_ ? &*average_ : nullptr);
    EvaluationMode evaluation(*models_);
    loss = validation_loss_->measure(*loss_, *models_, options_, observer_);
  }
  trackers_->log_scalars({{"validation_loss", loss}}, position_.step);
  auto& best = position_.best_validation_loss;
  if (std::isfinite(loss) && (!best || loss < *best)) {
    best = loss;
    position_.validations_since_best = 0;
    if (!options_.keep_best) return;
    check_weights();
    std::error_code error;
    fs::create_directories(output_ / "best", error);
    if (error) throw FileError(str("cannot create ", (output_ / "best").string(), ": ", error.message()));
    write_lora(output_ / "best" / kLoraFileName);
    return;
  }
  ++position_.validations_since_best;
  if (!options_.early_stopping_patience || position_.validations_since_best < *options_.early_stopping_patience) return;
  stop_early_ = true;
  log_info(str("Stopping early at step ", position_.step, ": ", position_.validations_since_best,
               " validation losses in a row were no lower than ", best.value_or(NAN), "."));
}

void TrainingRun::finish() {
  if (position_.skipped_in_row > 0 && position_.lr_steps == 0) {
    throw NumericError(str("the last ", position_.skipped_in_row,
                           " steps, all there were, had a loss or a gradient that is not finite, so the LoRA is not "
                           "saved: nothing was learned"),
                       "try a lower --learning_rate, and look at the pictures named");
  }
  check_weights();
  result_.lora_file = output_ / kLoraFileName;
  write_lora(result_.lora_file);
  result_.steps = position_.step;
  result_.skipped_steps = position_.skipped;
  result_.stopped_early = stop_early_;
  draw_validation("test", manner_.final_validation_steps);
  trackers_->finish(0);
  result_.peak_memory = peak_memory_bytes(context_.precision.device);
}

}  // namespace lorikeet
