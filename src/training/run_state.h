// Where a run stands, to and from a checkpoint.
#pragma once

#include <optional>
#include <set>

#include "data/loader.h"
#include "engine/grad_scaler.h"
#include "engine/python_random.h"
#include "training/checkpoint.h"
#include "training/lora_average.h"
#include "training/optimizer.h"
#include "training/training_models.h"

namespace lorikeet {

/// The counters of a run.
struct RunPosition {
  int64_t step = 0;       // optimizer steps, those skipped for numbers that are not finite included
  int64_t lr_steps = 0;   // steps of the learning-rate schedule
  int64_t epoch = 0;      // the epoch being trained
  bool in_epoch = false;  // its order has been drawn
  int64_t skipped = 0;    // steps left out because a loss or a gradient was not finite
  int64_t skipped_in_row = 0;
  int64_t logged = 0;  // records of values and pictures in the run's log
  std::optional<double> best_validation_loss;
  int64_t validations_since_best = 0;
};

/// References to everything of a run that a checkpoint keeps.
struct RunParts {
  RunPosition& position;
  const std::vector<TrainedParameter>& parameters;
  Optimizer& optimizer;
  GradScaler* scaler;    // null without fp16
  LoraAverage* average;  // null without --use_ema
  Loader& loader;
  TrainingGenerators& generators;
  PythonRandom& python_random;
  const nlohmann::json& dataset;      // see dataset_json
  const nlohmann::json& options;      // all of them, by name
  std::set<std::string> overridable;  // names given by --override
  TrainingModels* models = nullptr;   // for what PiSSA took out of their weights
};

CheckpointState save_run(const RunParts& run);

/// Puts a checkpoint's contents back. Throws UsageError naming the first option that differs and changes the numbers,
/// or the first picture that does; FormatError when the contents do not fit this run.
void restore_run(const RunParts& run, const CheckpointState& state);

}  // namespace lorikeet
