// Where JPEG, PNG and WebP files keep their EXIF and XMP blocks.
#include <zlib.h>

#include <algorithm>

#include "io/exif.h"

namespace lorikeet {
namespace {

constexpr std::string_view kJpegExif("Exif\0\0", 6);
constexpr std::string_view kJpegXmp("http://ns.adobe.com/xap/1.0/\0", 29);
constexpr std::string_view kXmpKey = "XML:com.adobe.xmp";
constexpr size_t kMaxText = size_t{1} << 20;  // compressed text beyond this is not a camera's note

uint32_t big_endian(std::string_view bytes, size_t at, size_t size) {
  uint32_t value = 0;
  for (size_t i = 0; i < size; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

uint32_t little_endian_32(std::string_view bytes, size_t at) { return __builtin_bswap32(big_endian(bytes, at, 4)); }

ImageMetadata read_jpeg(std::string_view bytes) {
  ImageMetadata found;
  for (size_t at = 2; at + 4 <= bytes.size();) {
    if (static_cast<uint8_t>(bytes[at]) != 0xFF) {
      ++at;  // Pillow, too, looks for the next marker behind junk
      continue;
    }
    const uint8_t marker = bytes[at + 1];
    if (marker == 0xFF) {
      ++at;
      continue;
    }
    if (marker == 0x00 || marker == 0x01 || (marker >= 0xD0 && marker <= 0xD9)) {
      at += 2;
      continue;
    }
    if (marker == 0xDA) break;  // the pixels begin
    const size_t size = big_endian(bytes, at + 2, 2);
    if (size < 2 || bytes.size() - at - 2 < size) break;
    const std::string_view segment = bytes.substr(at + 4, size - 2);
    if (marker == 0xE1 && segment.starts_with(kJpegExif)) {
      // A block over 64 KiB goes on in the next segment.
      found.exif += found.exif.empty() ? segment : segment.substr(kJpegExif.size());
    } else if (marker == 0xE1 && segment.starts_with(kJpegXmp)) {
      found.xmp = segment.substr(kJpegXmp.size());
    }
    at += 2 + size;
  }
  return found;
}

std::string inflate_text(std::string_view compressed) {
  std::string text(kMaxText, '\0');
  uLongf size = text.size();
  const auto* source = reinterpret_cast<const Bytef*>(compressed.data());
  if (uncompress(reinterpret_cast<Bytef*>(text.data()), &size, source, compressed.size()) != Z_OK) return "";
  text.resize(size);
  return text;
}

/// ImageMagick's way to put EXIF into a PNG text: a blank line, "exif", the length, then hexadecimal lines.
std::string decode_raw_profile(std::string_view text) {
  for (int line = 0; line < 3; ++line) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return "";
    text.remove_prefix(end + 1);
  }
  std::string bytes;
  int high = -1;
  for (const char c : text) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) continue;
    if (high >= 0) bytes += static_cast<char>(high << 4 | digit);
    high = high >= 0 ? -1 : digit;
  }
  return bytes;
}

/// Cuts `text` at its first zero byte: what is before it is returned, what is behind it stays. Nothing without one.
std::optional<std::string_view> take_field(std::string_view& text) {
  const size_t end = text.find('\0');
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view field = text.substr(0, end);
  text.remove_prefix(end + 1);
  return field;
}

/// The value of a tEXt, zTXt or iTXt chunk whose key is already cut off.
std::string text_value(std::string_view type, std::string_view rest) {
  if (type == "tEXt") return std::string(rest);
  if (type == "zTXt") return rest.size() > 1 && rest[0] == 0 ? inflate_text(rest.substr(1)) : "";
  if (rest.size() < 2) return "";
  const bool compressed = rest[0] != 0;
  rest.remove_prefix(2);
  if (!take_field(rest) || !take_field(rest)) return "";  // language, translated key
  return compressed ? inflate_text(rest) : std::string(rest);
}

ImageMetadata read_png(std::string_view bytes) {
  ImageMetadata found;
  std::string raw_profile;
  for (size_t at = 8; at + 12 <= bytes.size();) {
    const size_t size = big_endian(bytes, at, 4);
    if (bytes.size() - at - 12 < size) break;
    const std::string_view type = bytes.substr(at + 4, 4);
    std::string_view data = bytes.substr(at + 8, size);
    if (type == "eXIf") {
      found.exif = data;
    } else if (type == "tEXt" || type == "zTXt" || type == "iTXt") {
      const auto key = take_field(data);
      if (key == kXmpKey) found.xmp = text_value(type, data);
      if (key == "Raw profile type exif") raw_profile = text_value(type, data);
    }
    at += 12 + size;
  }
  if (found.exif.empty()) found.exif = decode_raw_profile(raw_profile);
  return found;
}

ImageMetadata read_webp(std::string_view bytes) {
  ImageMetadata found;
  for (size_t at = 12; at + 8 <= bytes.size();) {
    const size_t size = little_endian_32(bytes, at + 4);
    if (bytes.size() - at - 8 < size) break;
    const std::string_view type = bytes.substr(at, 4);
    if (type == "EXIF" && found.exif.empty()) found.exif = bytes.substr(at + 8, size);
    if (type == "XMP " && found.xmp.empty()) found.xmp = bytes.substr(at + 8, size);
    at += 8 + size + size % 2;
  }
  return found;
}

}  // namespace

ImageMetadata read_image_metadata(std::string_view bytes) {
  if (bytes.starts_with("\xFF\xD8")) return read_jpeg(bytes);
  if (bytes.starts_with("\x89PNG")) return read_png(bytes);
  if (bytes.starts_with("RIFF")) return read_webp(bytes);
  return {};
}

}  // namespace lorikeet
