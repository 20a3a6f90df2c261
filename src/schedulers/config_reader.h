// Typed, strict access to a scheduler_config.json.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "schedulers/noise_schedule.h"

namespace lorikeet {

/// Parses the text of a scheduler_config.json. Python writes infinities as bare words, which JSON does not know:
/// they come back as strings. Throws FormatError naming `origin`.
nlohmann::json parse_scheduler_config(std::string_view text, const std::string& origin);

/// Reads the keys that one scheduler class has; a missing key gives that class's default, keys of the other
/// schedulers are skipped, as Diffusers' `from_config` does.
class SchedulerConfigReader {
 public:
  /// Throws FormatError for a config that is no object, or with a key that no supported scheduler knows.
  SchedulerConfigReader(const nlohmann::json& config, std::string class_name);

  const std::string& class_name() const { return class_name_; }
  /// Each throws FormatError naming key, class, value and what was expected.
  bool flag(const std::string& key, bool fallback) const;
  int64_t integer(const std::string& key, int64_t fallback, int64_t minimum) const;
  double number(const std::string& key, double fallback) const;
  std::optional<double> optional_number(const std::string& key) const;
  /// null reads as the fallback.
  std::string choice(const std::string& key, const std::string& fallback,
                     std::initializer_list<const char*> allowed) const;
  /// The beta keys; `schedules` are the values of beta_schedule that the class has.
  BetaOptions betas(std::initializer_list<const char*> schedules, bool can_rescale) const;

  [[noreturn]] void refuse(const std::string& key, const std::string& expected) const;

 private:
  const nlohmann::json* find(const std::string& key) const;

  nlohmann::json config_;
  std::string class_name_;
};

}  // namespace lorikeet
