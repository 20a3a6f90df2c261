#include <sstream>

#include "cli/machine.h"
#include "cli/train_dreambooth.h"

namespace lorikeet {
namespace {

/// 1234567 -> "1,234,567"
std::string grouped(int64_t value) {
  std::string digits = std::to_string(value);
  for (size_t at = digits.size(); at > 3;) {
    at -= 3;
    digits.insert(at, 1, ',');
  }
  return digits;
}

}  // namespace

std::string plan_text(const TrainingPlan& plan) {
  std::ostringstream out;
  out << "Device: " << plan.device << ", " << plan.precision << "\n";
  out << "Pictures: " << plan.instance_images << " of the subject";
  if (plan.class_images > 0) out << ", " << plan.class_images << " of the class";
  if (plan.class_images_to_generate > 0) out << " (" << plan.class_images_to_generate << " of them yet to be drawn)";
  out << "\n";
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
