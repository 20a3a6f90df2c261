// Runs the cases of tools/reference/schedulers.py; for the tests and scheduler_tool only.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace lorikeet {

/// {config, name?, steps, seed, dtype, options} -> {timesteps, init_noise_sigma, samples, next_random}.
nlohmann::json run_scheduler_case(const nlohmann::json& one);

/// {config, name?, steps, seed, dtype, timesteps or timestep_indices} -> {noisy, velocity}.
nlohmann::json run_noise_case(const nlohmann::json& one);

}  // namespace lorikeet
