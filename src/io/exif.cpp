#include "io/exif.h"

#include <cstring>

namespace lorikeet {
namespace {

constexpr std::string_view kExifPrefix("Exif\0\0", 6);
constexpr uint32_t kOrientationTag = 0x0112;
constexpr uint32_t kShort = 3, kLong = 4, kSignedShort = 8, kSignedLong = 9;

/// Reads numbers of either byte order; out of range gives nothing.
class TiffReader {
 public:
  TiffReader(std::string_view bytes, bool big_endian) : bytes_(bytes), big_endian_(big_endian) {}

  std::optional<uint32_t> number(size_t offset, size_t size) const {
    if (offset > bytes_.size() || bytes_.size() - offset < size) return std::nullopt;
    uint32_t value = 0;
    for (size_t i = 0; i < size; ++i) {
      value = value << 8 | static_cast<uint8_t>(bytes_[offset + (big_endian_ ? i : size - 1 - i)]);
    }
    return value;
  }

 private:
  std::string_view bytes_;
  bool big_endian_;
};

/// Where the pixel (x, y) of the turned picture comes from, as base + x * step_x + y * step_y (in pixels).
struct Walk {
  int64_t base, step_x, step_y;
};

Walk walk_of(int orientation, int64_t width, int64_t height) {
  const int64_t right = width - 1, bottom = (height - 1) * width;
  switch (orientation) {
    case 2:
      return {right, -1, width};
    case 3:
      return {bottom + right, -1, -width};
    case 4:
      return {bottom, 1, -width};
    case 5:
      return {0, width, 1};
    case 6:
      return {bottom, -width, 1};
    case 7:
      return {bottom + right, -width, -1};
    default:
      return {right, width, -1};
  }
}

}  // namespace

std::optional<int> exif_orientation(std::string_view exif) {
  for (int i = 0; i < 2 && exif.starts_with(kExifPrefix); ++i) exif.remove_prefix(kExifPrefix.size());
  if (!exif.starts_with(std::string_view("II*\0", 4)) && !exif.starts_with(std::string_view("MM\0*", 4))) {
    return std::nullopt;
  }
  const TiffReader tiff(exif, exif[0] == 'M');
  const auto directory = tiff.number(4, 4);
  const auto entries = directory ? tiff.number(*directory, 2) : std::nullopt;
  if (!entries) return std::nullopt;
  for (uint32_t i = 0; i < *entries; ++i) {
    const size_t entry = size_t{*directory} + 2 + size_t{12} * i;
    const auto tag = tiff.number(entry, 2), type = tiff.number(entry + 2, 2), count = tiff.number(entry + 4, 4);
    if (!tiff.number(entry + 8, 4)) return std::nullopt;
    if (*tag != kOrientationTag) continue;
    const bool is_short = *type == kShort || *type == kSignedShort;
    if (*count == 0 || (!is_short && *type != kLong && *type != kSignedLong)) return std::nullopt;
    // Of several values, which should not be there, the first counts; they may not fit into the entry itself.
    const bool inline_value = *count <= (is_short ? 2u : 1u);
    return tiff.number(inline_value ? entry + 8 : *tiff.number(entry + 8, 4), is_short ? 2 : 4);
  }
  return std::nullopt;
}

std::optional<int> xmp_orientation(std::string_view xmp) {
  constexpr std::string_view kName = "tiff:Orientation";
  for (size_t at = xmp.find(kName); at != std::string_view::npos; at = xmp.find(kName, at + 1)) {
    std::string_view rest = xmp.substr(at + kName.size());
    if (rest.starts_with("=\"")) {
      rest.remove_prefix(2);
    } else if (rest.starts_with(">")) {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    if (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') return rest[0] - '0';
  }
  return std::nullopt;
}

Image turn_upright(Image image, const ImageMetadata& metadata) {
  auto orientation = exif_orientation(metadata.exif);
  if (!orientation) orientation = xmp_orientation(metadata.xmp);
  if (!orientation || *orientation < 2 || *orientation > 8) return image;
  const bool on_its_side = *orientation >= 5;
  Image turned{on_its_side ? image.height : image.width, on_its_side ? image.width : image.height, {}};
  turned.pixels.resize(image.pixels.size());
  const Walk walk = walk_of(*orientation, image.width, image.height);
  uint8_t* target = turned.pixels.data();
  for (int y = 0; y < turned.height; ++y) {
    const uint8_t* source = image.pixels.data() + (walk.base + y * walk.step_y) * 3;
    for (int x = 0; x < turned.width; ++x, target += 3) std::memcpy(target, source + x * walk.step_x * 3, 3);
  }
  return turned;
}

}  // namespace lorikeet
