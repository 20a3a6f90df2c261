// Where a run stands, to and from a checkpoint.
#pragma once

#include "data/dreambooth_loader.h"
#include "engine/grad_scaler.h"
#include "training/adamw.h"
#include "training/checkpoint.h"
#include "training/dreambooth_models.h"

namespace lorikeet {

/// The counters of a run.
struct RunPosition {
  int64_t step = 0;       // optimizer steps, those skipped for fp16 overflow included
  int64_t lr_steps = 0;   // steps of the learning-rate schedule
  int64_t epoch = 0;      // the epoch being trained
  bool in_epoch = false;  // its order has been drawn
};

/// References to everything of a run that a checkpoint keeps.
struct RunParts {
  RunPosition& position;
  DreamboothModels& models;
  AdamW& optimizer;
  GradScaler* scaler;  // null without fp16
  DreamboothLoader& loader;
  TrainingGenerators& generators;
  const TrainDreamboothOptions& options;
};

CheckpointState save_run(const RunParts& run);

/// Puts a checkpoint's contents back. Throws UsageError naming the first option that differs and changes the numbers,
/// FormatError when the contents do not fit this run.
void restore_run(const RunParts& run, const CheckpointState& state);

}  // namespace lorikeet
