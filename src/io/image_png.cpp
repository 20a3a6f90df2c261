// PNG through libpng. Its errors leave by longjmp, so the functions that call it hold no object with a destructor:
// whatever must be freed belongs to the reader or writer around them.
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <new>

#include "core/errors.h"
#include "core/text.h"
#include "io/image_codecs.h"

namespace lorikeet {
namespace {

struct Failure {
  char message[256];
};

[[noreturn]] void fail(png_structp png, png_const_charp message) {
  auto* failure = static_cast<Failure*>(png_get_error_ptr(png));
  std::snprintf(failure->message, sizeof failure->message, "%s", message);
  png_longjmp(png, 1);
}

void ignore_warning(png_structp, png_const_charp) {}

void take_bytes(png_structp png, png_bytep target, size_t count) {
  auto* rest = static_cast<std::string_view*>(png_get_io_ptr(png));
  if (rest->size() < count) png_error(png, "it ends in the middle of the picture");
  std::memcpy(target, rest->data(), count);
  rest->remove_prefix(count);
}

/// What a row holds once libpng has done its part.
enum class Rows { kRgb, kPaletteIndex, kGray16 };

class PngReader {
 public:
  explicit PngReader(std::string_view bytes) : rest_(bytes) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, &failure_, fail, ignore_warning);
    info_ = png_ ? png_create_info_struct(png_) : nullptr;
    if (!info_) throw std::bad_alloc();
  }
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  bool read_header(uint32_t max_width, uint32_t max_height) {
    if (setjmp(png_jmpbuf(png_))) return false;
    png_set_read_fn(png_, &rest_, take_bytes);
    png_set_user_limits(png_, max_width, max_height);
    png_set_chunk_malloc_max(png_, 8u << 20);
    // Colour profiles and texts do not change the pixels: never inflate them.
    static constexpr png_byte kIgnored[] = "iCCP\0tEXt\0zTXt\0iTXt\0sPLT\0eXIf";
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, kIgnored, 6);
    png_read_info(png_, info_);
    choose_rows();
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }

  bool read_rows(png_bytepp rows) {
    if (setjmp(png_jmpbuf(png_))) return false;
    png_read_image(png_, rows);
    return true;
  }

  /// 256 RGB entries; those beyond the file's palette are black.
  std::vector<uint8_t> palette() {
    std::vector<uint8_t> table(256 * 3);
    png_colorp colors = nullptr;
    int count = 0;
    if (png_get_PLTE(png_, info_, &colors, &count)) {
      for (int i = 0; i < std::min(count, 256); ++i) {
        table[i * 3] = colors[i].red;
        table[i * 3 + 1] = colors[i].green;
        table[i * 3 + 2] = colors[i].blue;
      }
    }
    return table;
  }

  Rows rows() const { return rows_; }
  size_t row_bytes() const { return png_get_rowbytes(png_, info_); }
  const char* message() const { return failure_.message; }

 private:
  void choose_rows() {
    const int color = png_get_color_type(png_, info_), depth = png_get_bit_depth(png_, info_);
    if (color == PNG_COLOR_TYPE_PALETTE) {
      rows_ = Rows::kPaletteIndex;
      png_set_packing(png_);
      return;
    }
    if (color == PNG_COLOR_TYPE_GRAY && depth == 16) {
      rows_ = Rows::kGray16;
      return;
    }
    if (depth == 16) png_set_strip_16(png_);
    if (depth < 8) png_set_expand_gray_1_2_4_to_8(png_);
    if (color & PNG_COLOR_MASK_ALPHA) png_set_strip_alpha(png_);
    if (!(color & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(png_);
  }

  Failure failure_{};
  std::string_view rest_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  Rows rows_ = Rows::kRgb;
};

void append_bytes(png_structp png, png_bytep bytes, size_t count) {
  bool out_of_memory = false;
  try {
    static_cast<std::string*>(png_get_io_ptr(png))->append(reinterpret_cast<const char*>(bytes), count);
  } catch (const std::bad_alloc&) {
    out_of_memory = true;
  }
  if (out_of_memory) png_error(png, "out of memory");
}

class PngWriter {
 public:
  PngWriter() {
    png_ = png_create_write_struct(PNG_LIBPNG_VER_STRING, &failure_, fail, ignore_warning);
    info_ = png_ ? png_create_info_struct(png_) : nullptr;
    if (!info_) throw std::bad_alloc();
  }
  ~PngWriter() { png_destroy_write_struct(&png_, &info_); }
  PngWriter(const PngWriter&) = delete;
  PngWriter& operator=(const PngWriter&) = delete;

  bool write(const Image& image, std::string* bytes) {
    if (setjmp(png_jmpbuf(png_))) return false;
    png_set_write_fn(png_, bytes, append_bytes, nullptr);
    png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_IHDR(png_, info_, static_cast<png_uint_32>(image.width), static_cast<png_uint_32>(image.height), 8,
                 PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png_, info_);
    for (int y = 0; y < image.height; ++y) png_write_row(png_, &image.pixels[static_cast<size_t>(y) * image.width * 3]);
    png_write_end(png_, info_);
    return true;
  }

  const char* message() const { return failure_.message; }

 private:
  Failure failure_{};
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

uint32_t big_endian_32(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

void look_up(const std::vector<uint8_t>& stored, const std::vector<uint8_t>& palette, Image& image) {
  uint8_t* target = image.pixels.data();
  for (const uint8_t index : stored) target = std::copy_n(&palette[size_t{index} * 3], 3, target);
}

void clip_gray(const std::vector<uint8_t>& stored, Image& image) {
  uint8_t* target = image.pixels.data();
  for (size_t i = 0; i < stored.size(); i += 2) {
    target = std::fill_n(target, 3, stored[i] != 0 ? uint8_t{255} : stored[i + 1]);
  }
}

}  // namespace

Image decode_png(std::string_view bytes, const std::string& name, const ImageLimits& limits) {
  if (bytes.size() < 24 || bytes.substr(12, 4) != "IHDR") throw_damaged(name, "PNG", "it has no header");
  const uint32_t width = big_endian_32(bytes, 16), height = big_endian_32(bytes, 20);
  Image image = allocate_image(width, height, name, limits);
  PngReader reader(bytes);
  if (!reader.read_header(width, height)) throw_damaged(name, "PNG", reader.message());

  std::vector<uint8_t> stored;  // rows that are not RGB yet
  if (reader.rows() != Rows::kRgb) stored.resize(reader.row_bytes() * height);
  uint8_t* base = stored.empty() ? image.pixels.data() : stored.data();
  std::vector<png_bytep> rows(height);
  for (uint32_t y = 0; y < height; ++y) rows[y] = base + y * reader.row_bytes();
  if (!reader.read_rows(rows.data())) throw_damaged(name, "PNG", reader.message());

  if (reader.rows() == Rows::kPaletteIndex) look_up(stored, reader.palette(), image);
  if (reader.rows() == Rows::kGray16) {
    clip_gray(stored, image);
    warn_once("gray16", str(name,
                            " is a 16-bit gray picture: every level above 255 becomes white, as in Pillow (this "
                            "is said once only). Convert such pictures to 8 bits."));
  }
  return image;
}

std::string encode_png(const Image& image) {
  check_pixels(image);
  std::string bytes;
  PngWriter writer;
  if (!writer.write(image, &bytes)) throw UsageError(str("cannot write a PNG picture: ", writer.message()));
  return bytes;
}

}  // namespace lorikeet
