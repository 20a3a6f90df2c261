// JPEG through libjpeg. Its errors leave by longjmp, so the functions that call it hold no object with a destructor:
// whatever must be freed belongs to the reader or writer around them.
// jpeglib.h does not include what it needs itself.
// clang-format off
#include <cstdio>
#include <jpeglib.h>
// clang-format on

#include <algorithm>
#include <csetjmp>
#include <cstdlib>
#include <cstring>

#include "core/errors.h"
#include "core/text.h"
#include "io/image_codecs.h"

namespace lorikeet {
namespace {

constexpr int kMaxScans = 100;  // a progressive file needs about ten; each may cost as much as a whole picture

struct Failure {
  jpeg_error_mgr manager;  // first, so that libjpeg's pointer to it is a pointer to all
  jmp_buf escape;
  char message[JMSG_LENGTH_MAX];
  char warning[JMSG_LENGTH_MAX];
};

Failure& failure_of(j_common_ptr codec) { return *reinterpret_cast<Failure*>(codec->err); }

[[noreturn]] void fail(j_common_ptr codec) {
  Failure& failure = failure_of(codec);
  failure.manager.format_message(codec, failure.message);
  longjmp(failure.escape, 1);
}

[[noreturn]] void fail_with(j_common_ptr codec, const char* message) {
  Failure& failure = failure_of(codec);
  std::snprintf(failure.message, sizeof failure.message, "%s", message);
  longjmp(failure.escape, 1);
}

void note_warning(j_common_ptr codec, int level) {
  Failure& failure = failure_of(codec);
  if (level < 0 && failure.warning[0] == '\0') failure.manager.format_message(codec, failure.warning);
}

void start_failure(Failure& failure) {
  jpeg_std_error(&failure.manager);
  failure.manager.error_exit = fail;
  failure.manager.emit_message = note_warning;
  failure.message[0] = failure.warning[0] = '\0';
}

boolean out_of_bytes(j_decompress_ptr codec) {
  fail_with(reinterpret_cast<j_common_ptr>(codec), "it ends in the middle of the picture");
}

void skip_bytes(j_decompress_ptr codec, long count) {
  if (count <= 0) return;
  if (static_cast<size_t>(count) > codec->src->bytes_in_buffer) out_of_bytes(codec);
  codec->src->next_input_byte += count;
  codec->src->bytes_in_buffer -= static_cast<size_t>(count);
}

void watch_scans(j_common_ptr codec) {
  if (reinterpret_cast<j_decompress_ptr>(codec)->input_scan_number > kMaxScans) {
    fail_with(codec, "more than 100 scans");
  }
}

class JpegReader {
 public:
  explicit JpegReader(std::string_view bytes) {
    start_failure(failure_);
    codec_.err = &failure_.manager;
    source_.next_input_byte = reinterpret_cast<const JOCTET*>(bytes.data());
    source_.bytes_in_buffer = bytes.size();
    source_.init_source = [](j_decompress_ptr) {};
    source_.fill_input_buffer = out_of_bytes;
    source_.skip_input_data = skip_bytes;
    source_.resync_to_restart = jpeg_resync_to_restart;
    source_.term_source = [](j_decompress_ptr) {};
    progress_.progress_monitor = watch_scans;
  }
  ~JpegReader() { jpeg_destroy_decompress(&codec_); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  bool read_header() {
    if (setjmp(failure_.escape)) return false;
    jpeg_create_decompress(&codec_);
    codec_.src = &source_;
    codec_.progress = &progress_;
    jpeg_read_header(&codec_, TRUE);
    if (codec_.num_components == 4) codec_.out_color_space = JCS_CMYK;
    return true;
  }

  /// `row` holds one row as stored; each is turned to RGB and put into its place in `pixels`.
  bool read_rows(JSAMPLE* row, uint8_t* pixels) {
    if (setjmp(failure_.escape)) return false;
    // Progressive files keep all coefficients: 2 bytes each, at most four components of the full size.
    const long area = static_cast<long>(codec_.image_width + 64) * static_cast<long>(codec_.image_height + 64);
    codec_.mem->max_memory_to_use = 16 * area + (32L << 20);
    jpeg_start_decompress(&codec_);
    while (codec_.output_scanline < codec_.output_height) {
      uint8_t* const target = pixels + size_t{codec_.output_scanline} * codec_.output_width * 3;
      jpeg_read_scanlines(&codec_, &row, 1);
      to_rgb(row, target);
    }
    jpeg_finish_decompress(&codec_);
    return true;
  }

  const jpeg_decompress_struct& codec() const { return codec_; }
  const char* message() const { return failure_.message; }
  const char* warning() const { return failure_.warning; }

 private:
  void to_rgb(const JSAMPLE* row, uint8_t* target) const {
    const size_t width = codec_.output_width;
    if (codec_.output_components == 3) {
      std::copy_n(row, width * 3, target);
    } else if (codec_.output_components == 1) {
      for (size_t x = 0; x < width; ++x) target = std::fill_n(target, 3, row[x]);
    } else {
      cmyk_to_rgb(row, width, target);
    }
  }

  /// Stored inverted, as Adobe does: row[3] is 255 - K already, and row[c] is 255 - ink.
  static void cmyk_to_rgb(const JSAMPLE* row, size_t width, uint8_t* target) {
    for (size_t x = 0; x < width; ++x, row += 4) {
      const int light = row[3];
      for (int c = 0; c < 3; ++c) {
        const int product = (255 - row[c]) * light + 128;
        *target++ = static_cast<uint8_t>(std::max(light - (((product >> 8) + product) >> 8), 0));
      }
    }
  }

  Failure failure_{};
  jpeg_source_mgr source_{};
  jpeg_progress_mgr progress_{};
  jpeg_decompress_struct codec_{};
};

class JpegWriter {
 public:
  JpegWriter() {
    start_failure(failure_);
    codec_.err = &failure_.manager;
  }
  ~JpegWriter() {
    jpeg_destroy_compress(&codec_);
    std::free(bytes_);
  }
  JpegWriter(const JpegWriter&) = delete;
  JpegWriter& operator=(const JpegWriter&) = delete;

  bool write(const Image& image, int quality) {
    if (setjmp(failure_.escape)) return false;
    jpeg_create_compress(&codec_);
    jpeg_mem_dest(&codec_, &bytes_, &size_);
    codec_.image_width = static_cast<JDIMENSION>(image.width);
    codec_.image_height = static_cast<JDIMENSION>(image.height);
    codec_.input_components = 3;
    codec_.in_color_space = JCS_RGB;
    jpeg_set_defaults(&codec_);  // 4:2:0
    jpeg_set_quality(&codec_, quality, TRUE);
    jpeg_start_compress(&codec_, TRUE);
    while (codec_.next_scanline < codec_.image_height) {
      JSAMPLE* row = const_cast<JSAMPLE*>(&image.pixels[size_t{codec_.next_scanline} * image.width * 3]);
      jpeg_write_scanlines(&codec_, &row, 1);
    }
    jpeg_finish_compress(&codec_);
    return true;
  }

  std::string bytes() const { return {reinterpret_cast<const char*>(bytes_), size_}; }
  const char* message() const { return failure_.message; }

 private:
  Failure failure_{};
  jpeg_compress_struct codec_{};
  unsigned char* bytes_ = nullptr;
  unsigned long size_ = 0;
};

}  // namespace

Image decode_jpeg(std::string_view bytes, const std::string& name, const ImageLimits& limits) {
  JpegReader reader(bytes);
  if (!reader.read_header()) throw_damaged(name, "JPEG", reader.message());
  const jpeg_decompress_struct& codec = reader.codec();
  if (codec.num_components == 2 || codec.num_components > 4) {
    throw_damaged(name, "JPEG", str(codec.num_components, " colour components, expected 1, 3 or 4"));
  }
  Image image = allocate_image(codec.image_width, codec.image_height, name, limits);
  std::vector<JSAMPLE> row(size_t{codec.image_width} * 4);
  if (!reader.read_rows(row.data(), image.pixels.data())) throw_damaged(name, "JPEG", reader.message());
  if (reader.warning()[0] != '\0') {
    warn_once(name, str(name, " is slightly damaged, parts of it may look wrong: ", reader.warning()));
  }
  return image;
}

std::string encode_jpeg(const Image& image, int quality) {
  check_pixels(image);
  JpegWriter writer;
  if (!writer.write(image, quality)) throw UsageError(str("cannot write a JPEG picture: ", writer.message()));
  return writer.bytes();
}

}  // namespace lorikeet
