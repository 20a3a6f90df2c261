#include "cli/train_dreambooth.h"

#include <chrono>
#include <cstdio>
#include <iostream>

#include "cli/machine.h"
#include "cli/work_bars.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/text.h"
#include "training/train_dreambooth.h"

namespace lorikeet {
namespace {

constexpr const char* kSteps = "Steps";

class TerminalObserver : public TrainingObserver {
 public:
  void on_plan(const TrainingPlan& plan) override {
    std::string text = plan_text(plan);
    text.pop_back();  // the last line's end, which the log adds
    log_info(text);
  }
  void on_work(const std::string& what, int64_t done, int64_t total) override { bars_.show(what, done, total); }
  void on_start(int64_t first_step, int64_t total) override { bars_.show(kSteps, first_step, total); }
  void on_step(const StepReport& report) override {
    char postfix[64];
    std::snprintf(postfix, sizeof postfix, "loss=%.3g, lr=%.3g", report.loss, report.learning_rate);
    bars_.show(kSteps, report.step, report.total, postfix);
  }
  void on_checkpoint(const std::string& folder) override { log_info(str("Checkpoint in ", folder)); }
  bool stop_requested() override { return lorikeet::stop_requested(); }

 private:
  WorkBars bars_;
};

std::string duration_text(std::chrono::steady_clock::duration duration) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration).count();
  return seconds < 60 ? str(seconds, " s") : str(seconds / 60, " min ", seconds % 60, " s");
}

}  // namespace

void train_dreambooth_command(const TrainDreamboothOptions& given) {
  TrainDreamboothOptions options = given;
  apply_environment(options);
  if (options.dry_run) {
    std::cout << plan_text(plan_dreambooth(options));
    return;
  }
  const auto start = std::chrono::steady_clock::now();
  TrainResult result;
  {
    TerminalObserver observer;
    result = train_dreambooth(options, observer);
  }
  log_info(str("LoRA in ", result.lora_file.string(), ": ", result.steps, " steps, ",
               duration_text(std::chrono::steady_clock::now() - start), ", peak memory ",
               bytes_text(result.peak_memory)));
}

}  // namespace lorikeet
