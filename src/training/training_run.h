// One run of the training loop. Only trainer.cpp and training_run*.cpp include this.
#pragma once

#include <optional>

#include "training/evaluation.h"
#include "training/lr_schedule.h"
#include "training/run_state.h"
#include "training/run_trackers.h"
#include "training/step_loss.h"
#include "training/trainer.h"
#include "training/validation.h"
#include "training/validation_loss.h"

namespace lorikeet {

/// Pictures, models and counts of a run, put together in the order in which the scripts draw.
class TrainingRun {
 public:
  TrainingRun(Recipe& recipe, TrainingObserver& observer, bool dry);

  TrainingPlan plan() const;
  TrainResult train();

 private:
  // training_run_setup.cpp
  void hold_out_pictures();
  void count_steps();
  int64_t batches_per_epoch() const;
  void check_output() const;
  void open_output() const;
  void make_optimizer();
  void encode_ahead();
  void encode_cuts(const std::vector<PictureRef>& cuts);
  void encode_texts(const std::vector<std::string>& texts);
  void resume();

  // training_run.cpp
  void train_epochs();
  void train_epoch();
  StepReport micro_step(const PictureBatch& batch, bool sync);
  bool optimizer_step();
  void skip_step(const std::string& what, double value);
  void log_step(const StepReport& report, bool sync);
  void after_step(bool sync);

  // training_run_output.cpp
  void check_weights() const;
  void checkpoint();
  void write_lora(const std::filesystem::path& file);
  void draw_validation(const std::string& tag, int64_t steps);
  void measure_validation();
  void finish();

  RunParts parts() {
    return {position_,
            parameters_,
            *optimizer_,
            scaler_ ? &*scaler_ : nullptr,
            average_ ? &*average_ : nullptr,
            *loader_,
            context_.generators,
            context_.python_random,
            dataset_,
            options_json_,
            overridable_,
            &*models_};
  }

  Recipe& recipe_;
  const TrainOptions& options_;
  Recipe::Manner manner_;
  TrainingObserver& observer_;
  RunContext context_;
  std::filesystem::path output_;
  nlohmann::json options_json_, dataset_;
  std::set<std::string> overridable_;
  std::optional<TrainingModels> models_;
  std::unique_ptr<Loader> loader_;
  int64_t examples_ = 0, steps_ = 0, epochs_ = 0;
  double base_rate_ = 0;

  std::vector<TrainedParameter> parameters_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<LrSchedule> schedule_;
  std::optional<GradScaler> scaler_;
  std::optional<LoraAverage> average_;
  std::optional<StepLoss> loss_;
  std::optional<Validator> validator_;
  std::optional<ValidationLoss> validation_loss_;
  std::optional<RunTrackers> trackers_;
  RunPosition position_;
  double step_loss_ = 0;                    // of the micro-steps since the last optimizer step, each over their number
  bool step_failed_ = false;                // one of them had a loss that is not finite
  std::vector<std::string> step_pictures_;  // their pictures, by name
  bool stop_early_ = false;
  TrainResult result_;
};

}  // namespace lorikeet
