// Variables of the environment, as the Hub's Python client reads them.
#pragma once

#include <optional>
#include <string>

namespace lorikeet {

/// An empty one counts as unset.
std::optional<std::string> environment(const char* name);

/// Whether it is 1, on, yes or true, in letters of any size.
bool environment_flag(const char* name);

/// A number above 0, or `fallback` where it is unset or none.
double environment_number(const char* name, double fallback);

}  // namespace lorikeet
