#include "cli/training_observer.h"

#include <chrono>
#include <cstdio>

#include "cli/machine.h"
#include "cli/preflight_text.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/text.h"
#include "training/trainer.h"

namespace lorikeet {
namespace {

constexpr const char* kSteps = "Steps";

std::string duration_text(std::chrono::steady_clock::duration duration) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration).count();
  return seconds < 60 ? str(seconds, " s") : str(seconds / 60, " min ", seconds % 60, " s");
}

/// Without the last line's end, which the log adds.
void log_text(std::string text) {
  text.pop_back();
  log_info(text);
}

}  // namespace

void TerminalObserver::on_preflight(const PictureDataset& dataset, const PreflightReport& report) {
  log_text(preflight_text(dataset, report));
}
void TerminalObserver::on_plan(const TrainingPlan& plan) { log_text(plan_text(plan)); }
void TerminalObserver::on_work(const std::string& what, int64_t done, int64_t total) { bars_.show(what, done, total); }
void TerminalObserver::on_start(int64_t first_step, int64_t total) { bars_.show(kSteps, first_step, total); }

void TerminalObserver::on_step(const StepReport& report) {
  char postfix[64];
  std::snprintf(postfix, sizeof postfix, "loss=%.3g, lr=%.3g", report.loss, report.learning_rate);
  bars_.show(kSteps, report.step, report.total, postfix);
}

void TerminalObserver::on_checkpoint(const std::string& folder) { log_info(str("Checkpoint in ", folder)); }
bool TerminalObserver::stop_requested() { return lorikeet::stop_requested(); }

TrainResult run_training(const std::function<TrainResult(TrainingObserver&)>& work,
                         const std::function<void()>& ready) {
  const auto start = std::chrono::steady_clock::now();
  TrainResult result;
  {
    TerminalObserver observer(ready);
    result = work(observer);
  }
  const std::string skipped =
      result.skipped_steps > 0 ? str(" (", result.skipped_steps, " left out, being not finite)") : "";
  log_info(str("LoRA in ", result.lora_file.string(), ": ", result.steps, " steps", skipped, ", ",
               duration_text(std::chrono::steady_clock::now() - start), ", peak memory ",
               bytes_text(result.peak_memory)));
  return result;
}

}  // namespace lorikeet
