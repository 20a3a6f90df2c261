// Lists in messages.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/text.h"

namespace lorikeet {

/// "a, b, c and 2 more": the first `most` of the names.
inline std::string listed(const std::vector<std::string>& names, size_t most = 5) {
  std::string text;
  for (size_t i = 0; i < names.size() && i < most; ++i) text += (i ? ", " : "") + names[i];
  if (names.size() > most) text += str(" and ", names.size() - most, " more");
  return text;
}

}  // namespace lorikeet
