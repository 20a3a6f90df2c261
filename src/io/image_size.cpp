#include "io/image_size.h"

#include <algorithm>
#include <optional>

#include "core/errors.h"
#include "core/text.h"
#include "io/exif.h"
#include "io/file_range.h"
#include "io/image_codecs.h"

namespace lorikeet {
namespace {

constexpr size_t kMostNotes = size_t{32} << 20;  // picture editors write megabytes of history into XMP

/// What the walk over a picture file finds.
struct Header {
  ImageSize stored;   // before turning
  std::string notes;  // a picture file without pixels: only the parts in which read_image_metadata looks
};

uint32_t big_endian(std::string_view bytes) {
  uint32_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<uint8_t>(byte);
  return value;
}

uint32_t little_endian(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

void take_notes(FileRange& file, uint64_t at, uint64_t size, std::string& notes) {
  if (size > kMostNotes || notes.size() + size > kMostNotes) {
    throw FormatError(str(file.name(), " has more than ", kMostNotes >> 20, " MiB of EXIF and XMP notes"),
                      "save the picture without its metadata");
  }
  notes += file.read(at, static_cast<size_t>(size));
}

bool holds_jpeg_orientation(std::string_view start) {
  using namespace std::string_view_literals;
  return start.starts_with("Exif\0\0"sv) || start.starts_with("http://ns.adobe.com/xap/1.0/\0"sv);
}

bool is_frame(uint8_t marker) {  // SOF0 to SOF15 without DHT, JPG and DAC, which lie between them
  return marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
}

Header walk_jpeg(FileRange& file) {
  Header header{{}, "\xFF\xD8"};
  bool framed = false;
  for (uint64_t at = 2; at + 4 <= file.size();) {
    const std::string_view head = file.read(at, 4);
    const uint8_t first = head[0], marker = head[1];
    if (first != 0xFF || marker == 0xFF) {
      ++at;
      continue;
    }
    if (marker == 0x00 || marker == 0x01 || (marker >= 0xD0 && marker <= 0xD9)) {
      at += 2;
      continue;
    }
    if (marker == 0xDA) break;  // the pixels begin
    const uint32_t size = big_endian(head.substr(2));
    if (size < 2 || file.size() - at - 2 < size) break;
    if (marker == 0xE1 && size > 2 && holds_jpeg_orientation(file.read(at + 4, std::min(size - 2, 29u)))) {
      take_notes(file, at, 2 + size, header.notes);
    }
    if (is_frame(marker) && !framed && size >= 8) {
      const std::string_view frame = file.read(at + 5, 4);
      header.stored = {big_endian(frame.substr(2)), big_endian(frame.substr(0, 2))};
      framed = true;
    }
    at += 2 + size;
  }
  if (!framed) throw_damaged(file.name(), "JPEG", "it has no frame header");
  return header;
}

bool holds_png_orientation(std::string_view type, std::string_view start) {
  if (type == "eXIf") return true;
  if (type != "tEXt" && type != "zTXt" && type != "iTXt") return false;
  using namespace std::string_view_literals;
  return start.starts_with("XML:com.adobe.xmp\0"sv) || start.starts_with("Raw profile type exif\0"sv);
}

Header walk_png(FileRange& file) {
  const std::string_view head = file.read(0, 24);
  if (head.size() < 24 || head.substr(12, 4) != "IHDR") throw_damaged(file.name(), "PNG", "it has no header");
  Header header{{big_endian(head.substr(16, 4)), big_endian(head.substr(20, 4))}, std::string(head.substr(0, 8))};
  for (uint64_t at = 8; at + 12 <= file.size();) {
    const std::string chunk(file.read(at, 8 + 22));
    const uint32_t size = big_endian(std::string_view(chunk).substr(0, 4));
    if (file.size() - at - 12 < size) break;
    if (holds_png_orientation(std::string_view(chunk).substr(4, 4), std::string_view(chunk).substr(8))) {
      take_notes(file, at, uint64_t{12} + size, header.notes);
    }
    at += uint64_t{12} + size;
  }
  return header;
}

/// The size in the first bytes of a VP8X, VP8 or VP8L chunk.
std::optional<ImageSize> webp_size(std::string_view type, std::string_view data) {
  if (type == "VP8X" && data.size() >= 10) {
    return ImageSize{little_endian(data.substr(4, 3)) + 1, little_endian(data.substr(7, 3)) + 1};
  }
  if (type == "VP8 " && data.size() >= 10 && data.substr(3, 3) == "\x9D\x01\x2A") {
    return ImageSize{little_endian(data.substr(6, 2)) & 0x3FFF, little_endian(data.substr(8, 2)) & 0x3FFF};
  }
  if (type == "VP8L" && data.size() >= 5 && data[0] == 0x2F) {
    const uint32_t bits = little_endian(data.substr(1, 4));
    return ImageSize{(bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1};
  }
  return std::nullopt;
}

Header walk_webp(FileRange& file) {
  Header header{{}, std::string(file.read(0, 12))};
  std::optional<ImageSize> size_found;  // of the first chunk that has one: a canvas counts, not the frames on it
  for (uint64_t at = 12; at + 8 <= file.size();) {
    const std::string chunk(file.read(at, 18));
    const std::string_view type = std::string_view(chunk).substr(0, 4);
    const uint32_t size = little_endian(std::string_view(chunk).substr(4, 4));
    if (!size_found) size_found = webp_size(type, std::string_view(chunk).substr(8));
    if (file.size() - at - 8 < size) break;
    if (type == "EXIF" || type == "XMP ") {
      take_notes(file, at, uint64_t{8} + size, header.notes);
      if (size % 2 != 0) header.notes += '\0';
    }
    at += uint64_t{8} + size + size % 2;
  }
  if (!size_found) throw_damaged(file.name(), "WebP", "bad header");
  header.stored = *size_found;
  return header;
}

void check_claim(const ImageSize& size, const std::string& name, const ImageLimits& limits) {
  if (size.width > 0 && size.height > 0 && size.height <= limits.max_pixels / size.width) return;
  throw FormatError(str(name, " claims to be ", size.width, " x ", size.height, " pixels: at least 1 and at most ",
                        limits.max_pixels, " are accepted"),
                    "scale the picture down, or remove it if you do not know where it comes from");
}

}  // namespace

bool starts_like_picture(std::string_view head) {
  return head.starts_with("\xFF\xD8\xFF") || head.starts_with("\x89PNG\r\n\x1A\n") ||
         (head.size() >= 12 && head.starts_with("RIFF") && head.substr(8, 4) == "WEBP");
}

ImageSize read_image_size(const std::filesystem::path& path, int64_t offset, int64_t bytes, const std::string& name,
                          const ImageLimits& limits) {
  FileRange file(path, offset, bytes, name);
  if (file.size() > static_cast<uint64_t>(limits.max_bytes)) {
    throw FormatError(str(name, " has ", file.size(), " bytes: at most ", limits.max_bytes, " are accepted"));
  }
  const std::string head(file.read(0, 12));
  // decode_image knows what else it may be, and says so; a kilobyte is enough for that.
  if (!starts_like_picture(head)) decode_image(file.read(0, 1024), name, limits);
  const Header header = head[0] == '\x89' ? walk_png(file) : head[0] == 'R' ? walk_webp(file) : walk_jpeg(file);
  check_claim(header.stored, name, limits);
  const ImageMetadata metadata = read_image_metadata(header.notes);
  auto orientation = exif_orientation(metadata.exif);
  if (!orientation) orientation = xmp_orientation(metadata.xmp);
  const bool on_its_side = orientation && *orientation >= 5 && *orientation <= 8;
  return on_its_side ? ImageSize{header.stored.height, header.stored.width} : header.stored;
}

ImageSize read_image_size(const std::filesystem::path& file, const ImageLimits& limits) {
  return read_image_size(file, 0, -1, file.string(), limits);
}

}  // namespace lorikeet
