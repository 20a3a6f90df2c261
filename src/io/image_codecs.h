// One decoder per picture format, behind decode_image. They give pixels as stored: orientation comes later.
#pragma once

#include <string>
#include <string_view>

#include "io/image.h"

namespace lorikeet {

Image decode_jpeg(std::string_view bytes, const std::string& name, const ImageLimits& limits);
Image decode_png(std::string_view bytes, const std::string& name, const ImageLimits& limits);
Image decode_webp(std::string_view bytes, const std::string& name, const ImageLimits& limits);

/// A black picture to decode into. Throws FormatError when the size a header claims is beyond `limits`, before any
/// memory is taken for it.
Image allocate_image(int64_t width, int64_t height, const std::string& name, const ImageLimits& limits);

/// Throws UsageError unless the picture has the bytes its size asks for, at least one pixel.
void check_pixels(const Image& image);

/// Throws FormatError: the picture `name` is damaged, in the words of the library that found out.
[[noreturn]] void throw_damaged(const std::string& name, const char* format, const std::string& reason);

/// Warns the first time it is called with this `key`: a loader meets the same picture in every epoch.
void warn_once(const std::string& key, const std::string& message);

}  // namespace lorikeet
