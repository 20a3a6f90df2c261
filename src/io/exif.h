// How a picture must be turned to stand upright, as cameras note it in the file.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "io/image.h"

namespace lorikeet {

/// The raw blocks of a picture file that may hold its orientation; empty where it has none.
struct ImageMetadata {
  std::string exif;  // a TIFF structure, perhaps behind "Exif\0\0"
  std::string xmp;
};

/// Finds the blocks in a JPEG, PNG or WebP file; damaged parts count as absent. Never throws for what is in `bytes`.
ImageMetadata read_image_metadata(std::string_view bytes);

/// The EXIF tag Orientation (1..8 when valid); nothing when the block is damaged or lacks it.
std::optional<int> exif_orientation(std::string_view exif);
/// The same from XMP's tiff:Orientation.
std::optional<int> xmp_orientation(std::string_view xmp);

/// Turns the picture as Pillow's ImageOps.exif_transpose does: by the EXIF tag, else by XMP, else not at all.
Image turn_upright(Image image, const ImageMetadata& metadata);

}  // namespace lorikeet
