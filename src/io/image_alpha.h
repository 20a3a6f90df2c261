// The transparency that decode_image drops.
#pragma once

#include <string>
#include <string_view>

#include "io/image.h"

namespace lorikeet {

/// The alpha channel of a PNG or WebP as a grey picture (white is opaque), turned as decode_image turns it; an empty
/// Image when the picture has none. `name` is for messages. Throws FormatError as decode_image does.
Image decode_alpha(std::string_view bytes, const std::string& name, const ImageLimits& limits = {});

}  // namespace lorikeet
