// Reads a model's config.json key by key, and refuses by name whatever was not read.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace lorikeet {

/// Every getter marks its key as known and throws FormatError (key, value, what is supported) when the value has the
/// wrong type. A missing key takes the default of the class that wrote the file. Keys that begin with "_" describe
/// the file, not the model, and are known by themselves.
class ConfigReader {
 public:
  /// `model` is the class name, for messages. Throws FormatError when `config` is no JSON object.
  ConfigReader(const nlohmann::json& config, std::string model);

  int64_t integer(const std::string& key, int64_t fallback);
  double number(const std::string& key, double fallback);
  bool boolean(const std::string& key, bool fallback);
  std::string text(const std::string& key, const std::string& fallback);
  /// null or missing is nullopt.
  std::optional<int64_t> optional_integer(const std::string& key);
  std::optional<std::string> optional_text(const std::string& key);
  std::vector<std::string> texts(const std::string& key, const std::vector<std::string>& fallback);
  std::vector<int64_t> integers(const std::string& key, const std::vector<int64_t>& fallback);
  /// One value for all, or a list of exactly `count`.
  std::vector<int64_t> integer_per_block(const std::string& key, int64_t fallback, size_t count);
  std::vector<bool> boolean_per_block(const std::string& key, bool fallback, size_t count);

  /// The key may be missing, or have one of these values; another is refused.
  void require(const std::string& key, const std::vector<nlohmann::json>& supported);
  /// Known, of any value, because it changes no number of this model.
  void ignore(const std::string& key);
  /// Refuses the first key that none of the calls above named.
  void finish() const;

  [[noreturn]] void refuse(const std::string& key, const std::string& supported) const;

 private:
  const nlohmann::json* find(const std::string& key);

  const nlohmann::json& config_;
  std::string model_;
  std::set<std::string> known_;
};

}  // namespace lorikeet
