// 8-bit RGB pictures, as Pillow sees them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace lorikeet {

/// Interleaved RGB bytes, row by row from the top: pixels.size() == width * height * 3.
struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> pixels;
};

/// What decoding may cost at most; see decode_image.
struct ImageLimits {
  int64_t max_pixels = 178'956'970;  // Pillow's own error limit
  int64_t max_bytes = int64_t{1} << 30;
};

/// Decodes JPEG, PNG or WebP (told by their first bytes, not by name), the first frame of an animation, turned by
/// its EXIF orientation, then as Pillow's convert("RGB"): alpha dropped, palettes looked up, 16-bit RGB to its high
/// byte, 16-bit gray clipped to 255 (as Pillow does it), CMYK as Pillow does it.
/// `name` is for messages. Throws FormatError: not such a picture, damaged, or larger than `limits`.
Image decode_image(std::string_view bytes, const std::string& name, const ImageLimits& limits = {});
/// The same, from a file; FileError when it cannot be read.
Image read_image(const std::filesystem::path& path, const ImageLimits& limits = {});

/// Resampling filters, Pillow's names; nearest_exact is torchvision's and equals Pillow's NEAREST on PIL images.
enum class Interpolation { kNearest, kNearestExact, kBox, kBilinear, kHamming, kBicubic, kLanczos };
/// "lanczos" -> kLanczos; throws UsageError naming the choices.
Interpolation parse_interpolation(const std::string& name);

/// Byte for byte Pillow 13's Image.resize((width, height), filter) of an RGB picture.
Image resize_image(const Image& image, int width, int height, Interpolation filter);

/// The part of `image` whose top left corner is (left, top); it must lie inside.
Image crop_image(const Image& image, int left, int top, int width, int height);

/// PNG, JPEG (Pillow's defaults: quality 75, 4:2:0) and WebP bytes.
std::string encode_png(const Image& image);
std::string encode_jpeg(const Image& image, int quality = 75);
std::string encode_webp(const Image& image, int quality = 80);
/// By the path's extension (.png .jpg .jpeg .webp), atomically. Throws UsageError for another extension.
void write_image(const std::filesystem::path& path, const Image& image);

/// Pictures of equal size side by side, at most `columns` in a row; what the last row lacks gets the gray level `fill`
/// (white; torch's make_grid takes 0).
Image image_grid(const std::vector<Image>& images, int columns, uint8_t fill = 255);

}  // namespace lorikeet
