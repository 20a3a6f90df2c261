// Numbers for people.
#pragma once

#include <cstdint>
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

}  // namespace lorikeet
