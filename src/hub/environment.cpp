#include "hub/environment.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>

namespace lorikeet {

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

bool environment_flag(const char* name) {
  auto value = environment(name).value_or("");
  std::transform(value.begin(), value.end(), value.begin(), [](unsigned char c) { return std::toupper(c); });
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

double environment_number(const char* name, double fallback) {
  const auto value = environment(name);
  if (!value) return fallback;
  char* end = nullptr;
  const double number = std::strtod(value->c_str(), &end);
  return *end == '\0' && number > 0 && std::isfinite(number) ? number : fallback;
}

}  // namespace lorikeet
