// Digests and commits are told by their form.
#pragma once

#include <string>

namespace lorikeet {

/// Whether the text is that many hexadecimal digits, in small letters.
inline bool is_hex(const std::string& text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace lorikeet
