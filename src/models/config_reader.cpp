#include "models/config_reader.h"

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {

ConfigReader::ConfigReader(const nlohmann::json& config, std::string model)
    : config_(config), model_(std::move(model)) {
  if (!config_.is_object()) {
    throw FormatError(str("the config of ", model_, " is ", config_.type_name(), ", expected a JSON object"));
  }
}

const nlohmann::json* ConfigReader::find(const std::string& key) {
  known_.insert(key);
  auto found = config_.find(key);
  return found == config_.end() ? nullptr : &*found;
}

void ConfigReader::refuse(const std::string& key, const std::string& supported) const {
  auto found = config_.find(key);
  throw FormatError(str(model_, " config: \"", key, "\" is ", found == config_.end() ? "missing" : found->dump(),
                        ", supported: ", supported),
                    "this model needs something that Lorikeet does not have; Stable Diffusion 1.x and 2.x work");
}

int64_t ConfigReader::integer(const std::string& key, int64_t fallback) {
  const auto* value = find(key);
  if (!value) return fallback;
  if (!value->is_number_integer()) refuse(key, "an integer");
  return value->get<int64_t>();
}

double ConfigReader::number(const std::string& key, double fallback) {
  const auto* value = find(key);
  if (!value) return fallback;
  if (!value->is_number()) refuse(key, "a number");
  return value->get<double>();
}

bool ConfigReader::boolean(const std::string& key, bool fallback) {
  const auto* value = find(key);
  if (!value) return fallback;
  if (!value->is_boolean()) refuse(key, "true or false");
  return value->get<bool>();
}

std::string ConfigReader::text(const std::string& key, const std::string& fallback) {
  const auto* value = find(key);
  if (!value) return fallback;
  if (!value->is_string()) refuse(key, "a string");
  return value->get<std::string>();
}

std::optional<int64_t> ConfigReader::optional_integer(const std::string& key) {
  const auto* value = find(key);
  if (!value || value->is_null()) return std::nullopt;
  if (!value->is_number_integer()) refuse(key, "an integer or null");
  return value->get<int64_t>();
}

std::optional<std::string> ConfigReader::optional_text(const std::string& key) {
  const auto* value = find(key);
  if (!value || value->is_null()) return std::nullopt;
  if (!value->is_string()) refuse(key, "a string or null");
  return value->get<std::string>();
}

std::vector<std::string> ConfigReader::texts(const std::string& key, const std::vector<std::string>& fallback) {
  const auto* value = find(key);
  if (!value) return fallback;
  if (!value->is_array()) refuse(key, "a list of strings");
  std::vector<std::string> result;
  for (const auto& item : *value) {
    if (!item.is_string()) refuse(key, "a list of strings");
    result.push_back(item.get<std::string>());
  }
  return result;
}

std::vector<int64_t> ConfigReader::integers(const std::string& key, const std::vector<int64_t>& fallback) {
  const auto* value = find(key);
  if (!value) return fallback;
  if (!value->is_array()) refuse(key, "a list of integers");
  std::vector<int64_t> result;
  for (const auto& item : *value) {
    if (!item.is_number_integer()) refuse(key, "a list of integers");
    result.push_back(item.get<int64_t>());
  }
  return result;
}

std::vector<int64_t> ConfigReader::integer_per_block(const std::string& key, int64_t fallback, size_t count) {
  const auto* value = find(key);
  if (!value) return std::vector<int64_t>(count, fallback);
  const auto supported = str("an integer, or a list of ", count, " integers");
  if (value->is_number_integer()) return std::vector<int64_t>(count, value->get<int64_t>());
  if (!value->is_array() || value->size() != count) refuse(key, supported);
  std::vector<int64_t> result;
  for (const auto& item : *value) {
    if (!item.is_number_integer()) refuse(key, supported);
    result.push_back(item.get<int64_t>());
  }
  return result;
}

std::vector<bool> ConfigReader::boolean_per_block(const std::string& key, bool fallback, size_t count) {
  const auto* value = find(key);
  if (!value) return std::vector<bool>(count, fallback);
  const auto supported = str("true, false, or a list of ", count, " of them");
  if (value->is_boolean()) return std::vector<bool>(count, value->get<bool>());
  if (!value->is_array() || value->size() != count) refuse(key, supported);
  std::vector<bool> result;
  for (const auto& item : *value) {
    if (!item.is_boolean()) refuse(key, supported);
    result.push_back(item.get<bool>());
  }
  return result;
}

void ConfigReader::require(const std::string& key, const std::vector<nlohmann::json>& supported) {
  const auto* value = find(key);
  if (!value) return;
  std::string names;
  for (const auto& one : supported) {
    if (*value == one) return;
    names += (names.empty() ? "" : " or ") + one.dump();
  }
  refuse(key, names);
}

void ConfigReader::ignore(const std::string& key) { find(key); }

void ConfigReader::finish() const {
  for (const auto& [key, value] : config_.items()) {
    if (!key.starts_with("_") && !known_.contains(key)) refuse(key, "no such key is known for this class");
  }
}

}  // namespace lorikeet
