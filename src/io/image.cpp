#include "io/image.h"

#include <algorithm>
#include <cctype>
#include <mutex>
#include <set>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "io/exif.h"
#include "io/image_codecs.h"

namespace lorikeet {
namespace {

constexpr const char* kFormatHint = "convert the picture to PNG, JPEG or WebP";

bool is_webp(std::string_view bytes) {
  return bytes.size() >= 12 && bytes.starts_with("RIFF") && bytes.substr(8, 4) == "WEBP";
}

/// What a file that is none of ours may be, to say so.
const char* guess_format(std::string_view bytes) {
  if (bytes.starts_with("GIF8")) return "a GIF file";
  if (bytes.starts_with("BM")) return "a BMP file";
  if (bytes.starts_with(std::string_view("II*\0", 4)) || bytes.starts_with(std::string_view("MM\0*", 4))) {
    return "a TIFF file";
  }
  if (bytes.size() >= 12 && bytes.substr(4, 4) == "ftyp") return "an AVIF, HEIC or video file";
  if (bytes.starts_with("version https://git-lfs")) return "a Git LFS pointer, not the picture itself";
  return nullptr;
}

[[noreturn]] void throw_not_a_picture(std::string_view bytes, const std::string& name) {
  if (bytes.empty()) throw FormatError(str(name, " is empty: a JPEG, PNG or WebP picture was expected"));
  const char* guess = guess_format(bytes);
  throw FormatError(str(name, " is ", guess ? guess : "not a picture", ": JPEG, PNG or WebP was expected"),
                    guess ? kFormatHint : "remove the file from the folder, or fetch it again");
}

}  // namespace

void check_pixels(const Image& image) {
  const bool fits =
      image.width > 0 && image.height > 0 && image.pixels.size() == static_cast<size_t>(image.width) * image.height * 3;
  if (!fits) {
    throw UsageError(str("a picture of ", image.width, " x ", image.height, " has ", image.pixels.size(),
                         " bytes, expected width * height * 3, at least 3"));
  }
}

Image allocate_image(int64_t width, int64_t height, const std::string& name, const ImageLimits& limits) {
  if (width <= 0 || height <= 0) throw FormatError(str(name, " claims to be ", width, " x ", height, " pixels"));
  if (height > limits.max_pixels / width) {
    throw FormatError(
        str(name, " claims to be ", width, " x ", height, " pixels: at most ", limits.max_pixels, " are accepted"),
        "scale the picture down, or remove it if you do not know where it comes from");
  }
  return {static_cast<int>(width), static_cast<int>(height),
          std::vector<uint8_t>(static_cast<size_t>(width) * static_cast<size_t>(height) * 3)};
}

void throw_damaged(const std::string& name, const char* format, const std::string& reason) {
  throw FormatError(str(name, " is a damaged ", format, " file: ", reason), "fetch the file again, or remove it");
}

void warn_once(const std::string& key, const std::string& message) {
  static std::mutex mutex;
  static std::set<std::string> seen;
  {
    std::lock_guard lock(mutex);
    if (!seen.insert(key).second) return;
  }
  log_warning(message);
}

Image decode_image(std::string_view bytes, const std::string& name, const ImageLimits& limits) {
  if (static_cast<int64_t>(bytes.size()) > limits.max_bytes) {
    throw FormatError(str(name, " has ", bytes.size(), " bytes: at most ", limits.max_bytes, " are accepted"));
  }
  Image image;
  if (bytes.starts_with("\xFF\xD8\xFF")) {
    image = decode_jpeg(bytes, name, limits);
  } else if (bytes.starts_with("\x89PNG\r\n\x1A\n")) {
    image = decode_png(bytes, name, limits);
  } else if (is_webp(bytes)) {
    image = decode_webp(bytes, name, limits);
  } else {
    throw_not_a_picture(bytes, name);
  }
  return turn_upright(std::move(image), read_image_metadata(bytes));
}

Image read_image(const std::filesystem::path& path, const ImageLimits& limits) {
  return decode_image(read_file(path, static_cast<size_t>(limits.max_bytes)), path.string(), limits);
}

Image crop_image(const Image& image, int left, int top, int width, int height) {
  check_pixels(image);
  if (left < 0 || top < 0 || width <= 0 || height <= 0 || width > image.width - left || height > image.height - top) {
    throw UsageError(str("cannot crop ", width, " x ", height, " pixels at (", left, ", ", top, ") from a picture of ",
                         image.width, " x ", image.height));
  }
  Image part{width, height, {}};
  part.pixels.reserve(static_cast<size_t>(width) * height * 3);
  for (int y = top; y < top + height; ++y) {
    const uint8_t* row = &image.pixels[(static_cast<size_t>(y) * image.width + left) * 3];
    part.pixels.insert(part.pixels.end(), row, row + static_cast<size_t>(width) * 3);
  }
  return part;
}

Image image_grid(const std::vector<Image>& images, int columns, uint8_t fill) {
  if (images.empty() || columns <= 0) {
    throw UsageError(str("cannot lay ", images.size(), " pictures out in ", columns, " columns"));
  }
  const int width = images[0].width, height = images[0].height;
  const int count = static_cast<int>(images.size());
  columns = std::min(columns, count);
  Image grid{width * columns, height * ((count + columns - 1) / columns), {}};
  grid.pixels.assign(static_cast<size_t>(grid.width) * grid.height * 3, fill);
  for (int i = 0; i < count; ++i) {
    const Image& image = images[i];
    check_pixels(image);
    if (image.width != width || image.height != height) {
      throw UsageError(str("picture ", i, " of a grid is ", image.width, " x ", image.height, ", the first is ", width,
                           " x ", height, ": equal sizes were expected"));
    }
    const size_t row_bytes = static_cast<size_t>(width) * 3;
    for (int y = 0; y < height; ++y) {
      const size_t target_row = static_cast<size_t>(i / columns) * height + y;
      std::copy_n(&image.pixels[y * row_bytes], row_bytes,
                  &grid.pixels[target_row * grid.width * 3 + (i % columns) * row_bytes]);
    }
  }
  return grid;
}

void write_image(const std::filesystem::path& path, const Image& image) {
  check_pixels(image);
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  if (extension == ".png") return write_file_atomically(path, encode_png(image));
  if (extension == ".jpg" || extension == ".jpeg") return write_file_atomically(path, encode_jpeg(image));
  if (extension == ".webp") return write_file_atomically(path, encode_webp(image));
  throw UsageError(str("cannot write ", path.string(), ": no picture format has the extension \"", extension, "\""),
                   "name it .png, .jpg, .jpeg or .webp");
}

}  // namespace lorikeet
