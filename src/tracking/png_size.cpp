#include "tracking/png_size.h"

#include "core/errors.h"

namespace lorikeet {

std::pair<uint32_t, uint32_t> png_size(std::string_view png) {
  if (png.size() < 24 || png.substr(12, 4) != "IHDR") throw FormatError("a picture to log is not a PNG file");
  uint32_t size[2] = {0, 0};
  for (size_t i = 0; i < 8; ++i) size[i / 4] = size[i / 4] << 8 | static_cast<uint8_t>(png[16 + i]);
  return {size[0], size[1]};
}

}  // namespace lorikeet
