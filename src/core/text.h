// Text building for sources that see torch, where neither Debian's fmt nor std::format can be used.
#pragma once

#include <sstream>
#include <string>

namespace lorikeet {

/// All arguments, streamed one after another: str("rank ", 4, " is fine").
template <class... Args>
std::string str(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

}  // namespace lorikeet
