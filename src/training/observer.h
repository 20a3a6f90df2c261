// What a training run tells its caller while it works. Training itself never prints.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lorikeet {

struct PictureDataset;
struct PreflightReport;

/// What a run is going to do; known before the first step, and all that a dry run makes. No torch is needed to read it.
struct TrainingPlan {
  std::string device;                // for people
  std::string precision;             // fp32, fp16, bf16
  std::string pictures;              // what there is to learn from, for people: "5 of the subject"
  std::vector<std::string> skipped;  // entries of the picture folders that are no pictures
  int64_t held_out = 0;              // pictures for the validation loss
  int64_t examples = 0;              // per epoch
  int64_t batches_per_epoch = 0;
  int64_t epochs = 0;
  int64_t batch_size = 0;
  int64_t gradient_accumulation_steps = 1;
  int64_t steps = 0;  // optimizer steps
  int64_t adapted_layers = 0;
  int64_t trained_parameters = 0;
  int64_t memory_estimate = 0;  // bytes, rough
};

/// One micro-step: a batch was learned from; the optimizer may still be gathering gradients.
struct StepReport {
  int64_t step = 0, total = 0;  // optimizer steps done, and in all
  bool optimizer_stepped = false;
  double loss = 0;
  double learning_rate = 0;
};

class TrainingObserver {
 public:
  virtual ~TrainingObserver() = default;
  /// What was found in the data set; before on_plan, and only by recipes that check one.
  virtual void on_preflight(const PictureDataset& dataset, const PreflightReport& report) {}
  virtual void on_plan(const TrainingPlan& plan) {}
  /// Model and pictures are there and could be opened, and what takes long comes next: the drawing of class images, and
  /// (again) the training. What it throws ends the run.
  virtual void on_ready() {}
  /// Work other than training steps ("Generating class images", "Validation"): `done` of `total` units.
  virtual void on_work(const std::string& what, int64_t done, int64_t total) {}
  /// Training goes on at `first_step` (0 for a new run).
  virtual void on_start(int64_t first_step, int64_t total) {}
  virtual void on_step(const StepReport& report) {}
  virtual void on_checkpoint(const std::string& folder) {}
  /// Asked after every step: true ends the run after a checkpoint, by Interrupted.
  virtual bool stop_requested() { return false; }
};

}  // namespace lorikeet
