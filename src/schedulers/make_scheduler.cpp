#include "schedulers/make_scheduler.h"

#include "core/errors.h"
#include "core/text.h"
#include "schedulers/ddim.h"
#include "schedulers/ddpm.h"
#include "schedulers/dpmsolver_multistep.h"
#include "schedulers/euler.h"
#include "schedulers/pndm.h"

namespace lorikeet {
namespace {

struct Entry {
  const char* name;
  const char* class_name;
  std::unique_ptr<Scheduler> (*make)(const SchedulerConfigReader& config);
};

template <class T>
std::unique_ptr<Scheduler> make(const SchedulerConfigReader& config) {
  return std::make_unique<T>(config);
}

constexpr Entry kSchedulers[] = {
    {"pndm", "PNDMScheduler", make<PNDMScheduler>},
    {"ddim", "DDIMScheduler", make<DDIMScheduler>},
    {"ddpm", "DDPMScheduler", make<DDPMScheduler>},
    {"euler", "EulerDiscreteScheduler", make<EulerDiscreteScheduler>},
    {"euler_a", "EulerAncestralDiscreteScheduler", make<EulerAncestralDiscreteScheduler>},
    {"dpmsolver++", "DPMSolverMultistepScheduler", make<DPMSolverMultistepScheduler>},
};

std::string listed(const char* Entry::*what) {
  std::string text;
  for (const auto& entry : kSchedulers) text += str(text.empty() ? "" : ", ", entry.*what);
  return text;
}

}  // namespace

const std::vector<std::string>& scheduler_names() {
  static const auto names = [] {
    std::vector<std::string> all;
    for (const auto& entry : kSchedulers) all.emplace_back(entry.name);
    return all;
  }();
  return names;
}

std::unique_ptr<Scheduler> make_scheduler(const nlohmann::json& config) {
  const auto name = config.is_object() && config.contains("_class_name") ? config["_class_name"] : nlohmann::json();
  for (const auto& entry : kSchedulers) {
    if (name == entry.class_name) return entry.make(SchedulerConfigReader(config, entry.class_name));
  }
  throw FormatError(
      str("the scheduler config's _class_name is ", name.dump(), ", expected one of ", listed(&Entry::class_name)),
      str("Choose a scheduler by name: ", listed(&Entry::name), "."));
}

std::unique_ptr<Scheduler> make_scheduler(const std::string& name, const nlohmann::json& config) {
  for (const auto& entry : kSchedulers) {
    if (name == entry.name) return entry.make(SchedulerConfigReader(config, entry.class_name));
  }
  throw UsageError(str("there is no scheduler '", name, "', expected one of ", listed(&Entry::name)));
}

}  // namespace lorikeet
