#include "training/optimizer.h"

#include <set>
#include <stdexcept>

#include "core/errors.h"
#include "core/text.h"
#include "training/optimizer_base.h"

namespace lorikeet {

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, std::vector<TrainedParameter> parameters) {
  const auto complete = with_defaults(options);
  std::set<std::string> names;
  for (const auto& parameter : parameters) {
    if (!names.insert(parameter.name).second) {
      throw std::logic_error("two trained parameters are named " + parameter.name);
    }
    if (options.name != "adamw" && parameter.value.scalar_type() != torch::kFloat) {
      throw UsageError(lorikeet::str("--optimizer=", options.name, " trains Float weights, but ", parameter.name,
                                     " is ", parameter.value.scalar_type()),
                       "leave --compat_bugs out, or take --optimizer=adamw");
    }
  }
  static const std::map<std::string, decltype(&make_adamw)> makers = {
      {"adamw", make_adamw}, {"adamw8bit", make_adamw8bit}, {"adafactor", make_adafactor},
      {"lion", make_lion},   {"prodigy", make_prodigy},     {"schedulefree", make_schedule_free}};
  return makers.at(complete.name)(complete, std::move(parameters));
}

}  // namespace lorikeet
