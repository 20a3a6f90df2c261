// How large a picture is, read from its header alone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "io/image.h"

namespace lorikeet {

/// Pixels of the upright picture, as decode_image gives them.
struct ImageSize {
  int64_t width = 0, height = 0;
  bool operator==(const ImageSize&) const = default;
};

/// Whether these first bytes (twelve are enough) are a JPEG's, PNG's or WebP's.
bool starts_like_picture(std::string_view head);

/// Width and height of the JPEG, PNG or WebP picture in `bytes` bytes of a file from `offset` on (-1: to its end).
/// Reads the headers and what may hold the orientation, never the pixels; takes some KiB of memory, at most 128 MiB
/// for the most bloated notes. A picture that decode_image decodes has the size it gives; a damaged one may still have
/// a size here. `name` is for messages. Throws FileError when the file cannot be read or is shorter than the range,
/// FormatError: not such a picture, its header is damaged, or it is beyond `limits`.
ImageSize read_image_size(const std::filesystem::path& file, int64_t offset, int64_t bytes, const std::string& name,
                          const ImageLimits& limits = {});
/// The same of a whole file, named by its path.
ImageSize read_image_size(const std::filesystem::path& file, const ImageLimits& limits = {});

}  // namespace lorikeet
