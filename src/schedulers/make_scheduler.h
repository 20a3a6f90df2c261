// The scheduler that a scheduler_config.json, or the user, names.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "schedulers/config_reader.h"
#include "schedulers/scheduler.h"

namespace lorikeet {

/// The short names: pndm, ddim, ddpm, euler, euler_a, dpmsolver++.
const std::vector<std::string>& scheduler_names();

/// The class that the config's `_class_name` says. Throws FormatError for a class we do not have, and for keys or
/// values it does not know.
std::unique_ptr<Scheduler> make_scheduler(const nlohmann::json& config);

/// A class by its short name, from a config that any class saved: Diffusers' `XScheduler.from_config(config)`.
/// Throws UsageError for an unknown name.
std::unique_ptr<Scheduler> make_scheduler(const std::string& name, const nlohmann::json& config);

}  // namespace lorikeet
