// What a training run tells, on the terminal.
#pragma once

#include <functional>
#include <utility>

#include "cli/work_bars.h"
#include "training/observer.h"

namespace lorikeet {

struct TrainResult;

/// Progress bars on standard error, and lines above them.
class TerminalObserver : public TrainingObserver {
 public:
  /// `ready` is called when the run is (TrainingObserver::on_ready).
  explicit TerminalObserver(std::function<void()> ready = {}) : ready_(std::move(ready)) {}

  void on_ready() override {
    if (ready_) ready_();
  }
  void on_preflight(const PictureDataset& dataset, const PreflightReport& report) override;
  void on_plan(const TrainingPlan& plan) override;
  void on_work(const std::string& what, int64_t done, int64_t total) override;
  void on_start(int64_t first_step, int64_t total) override;
  void on_step(const StepReport& report) override;
  void on_checkpoint(const std::string& folder) override;
  bool stop_requested() override;

 private:
  std::function<void()> ready_;
  WorkBars bars_;
};

/// The plan for people, one line per fact.
std::string plan_text(const TrainingPlan& plan);

/// Runs `work` under a TerminalObserver and says at the end what came out.
TrainResult run_training(const std::function<TrainResult(TrainingObserver&)>& work,
                         const std::function<void()>& ready = {});

}  // namespace lorikeet
