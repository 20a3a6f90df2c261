// Numbers for people.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

namespace lorikeet {

/// 1234567 -> "1,234,567"
inline std::string grouped(int64_t value) {
  std::string digits = std::to_string(value);
  for (size_t at = digits.size(); at > 3;) {
    at -= 3;
    digits.insert(at, 1, ',');
  }
  return digits;
}

/// 0.123456 -> "0.1235"
inline std::string short_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

/// 0.01234 -> "1.23 %"
inline std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g %%", share * 100);
  return text;
}

/// Bytes, in powers of 1000: 4265146304 -> "4.3G"
inline std::string disk_size(int64_t bytes) {
  double value = static_cast<double>(bytes);
  const char* unit = "BKMGTPE";
  for (; value >= 999.95 && unit[1] != '\0'; ++unit) value /= 1000;
  char text[32];
  std::snprintf(text, sizeof text, *unit == 'B' ? "%.0f%c" : "%.1f%c", value, *unit);
  return text;
}

}  // namespace lorikeet
