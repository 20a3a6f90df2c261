// The parts of a checkpoint's state.json, each read with care: the file may be damaged, or another program's.
#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "data/loader.h"
#include "engine/python_random.h"

namespace lorikeet {

/// A whole number of at least 0. Throws FormatError naming it. (nlohmann::json would turn 1e300 and true into some.)
int64_t as_count(const nlohmann::json& value, const char* name);
int64_t count_at(const nlohmann::json& json, const char* name);

nlohmann::json to_json(const Loader::State& state);
Loader::State loader_from_json(const nlohmann::json& json);

/// Name and short hash of every picture and its captions, in order.
nlohmann::json dataset_json(const PictureSets& sets);
/// Throws UsageError naming the first picture that is not the one the checkpoint was made with.
void check_dataset(const nlohmann::json& then, const nlohmann::json& now);

/// Throws UsageError naming the first option that differs, unless it changes no number of the steps to come or is
/// among `overridable`.
void check_options(const nlohmann::json& then, const nlohmann::json& now, const std::set<std::string>& overridable);

/// Throws UsageError for names given to --override that are no options, or that no run survives a change of.
void check_overrides(const std::vector<std::string>& names, const nlohmann::json& options);

}  // namespace lorikeet
