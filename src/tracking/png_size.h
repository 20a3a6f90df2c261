#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

namespace lorikeet {

/// Width and height from a PNG file's header. Throws FormatError for what is none.
std::pair<uint32_t, uint32_t> png_size(std::string_view png);

}  // namespace lorikeet
