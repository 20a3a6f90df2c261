#include <sstream>

#include "cli/machine.h"
#include "cli/numbers.h"
#include "cli/training_observer.h"

namespace lorikeet {

std::string plan_text(const TrainingPlan& plan) {
  std::ostringstream out;
  out << "Device: " << plan.device << ", " << plan.precision << "\n";
  out << "Pictures: " << plan.pictures << "\n";
  if (plan.held_out > 0) out << "Held out: " << plan.held_out << " of them, for the validation loss\n";
  if (!plan.skipped.empty()) {
    out << "Skipped, being no pictures:";
    for (const auto& name : plan.skipped) out << " " << name;
    out << "\n";
  }
  out << "Steps: " << grouped(plan.steps) << " of batch " << plan.batch_size;
  if (plan.gradient_accumulation_steps > 1) out << " x " << plan.gradient_accumulation_steps << " accumulated";
  out << ", " << plan.epochs << (plan.epochs == 1 ? " epoch" : " epochs") << " of " << plan.batches_per_epoch
      << (plan.batches_per_epoch == 1 ? " batch\n" : " batches\n");
  out << "Trained: " << grouped(plan.trained_parameters) << " parameters in " << plan.adapted_layers << " layers\n";
  out << "Memory: about " << bytes_text(plan.memory_estimate) << "\n";
  return out.str();
}

}  // namespace lorikeet
