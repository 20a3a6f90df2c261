#include "io/image_alpha.h"

#include <png.h>
#include <webp/decode.h>

#include <memory>

#include "io/exif.h"
#include "io/image_codecs.h"

namespace lorikeet {
namespace {

/// Gray and alpha, or RGBA: every `stride` bytes the last one becomes a grey pixel.
Image grey_of_alpha(const std::vector<uint8_t>& pixels, size_t stride, Image image) {
  for (size_t i = 0; i < image.pixels.size() / 3; ++i) {
    const uint8_t alpha = pixels[i * stride + stride - 1];
    for (size_t channel = 0; channel < 3; ++channel) image.pixels[i * 3 + channel] = alpha;
  }
  return image;
}

Image png_alpha(std::string_view bytes, const std::string& name, const ImageLimits& limits) {
  png_image header{};
  header.version = PNG_IMAGE_VERSION;
  if (!png_image_begin_read_from_memory(&header, bytes.data(), bytes.size())) {
    const std::string message = header.message;
    png_image_free(&header);
    throw_damaged(name, "PNG", message);
  }
  const std::unique_ptr<png_image, decltype(&png_image_free)> owner(&header, png_image_free);
  if (!(header.format & PNG_FORMAT_FLAG_ALPHA)) return {};
  Image image = allocate_image(header.width, header.height, name, limits);
  header.format = PNG_FORMAT_GA;
  std::vector<uint8_t> pixels(PNG_IMAGE_SIZE(header));
  if (!png_image_finish_read(&header, nullptr, pixels.data(), 0, nullptr)) throw_damaged(name, "PNG", header.message);
  return grey_of_alpha(pixels, 2, std::move(image));
}

Image webp_alpha(std::string_view bytes, const std::string& name, const ImageLimits& limits) {
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(data, bytes.size(), &features) != VP8_STATUS_OK) throw_damaged(name, "WebP", "bad header");
  if (!features.has_alpha || features.has_animation) return {};
  Image image = allocate_image(features.width, features.height, name, limits);
  std::vector<uint8_t> pixels(image.pixels.size() / 3 * 4);
  if (!WebPDecodeRGBAInto(data, bytes.size(), pixels.data(), pixels.size(), features.width * 4)) {
    throw_damaged(name, "WebP", "its pixels cannot be decoded");
  }
  return grey_of_alpha(pixels, 4, std::move(image));
}

}  // namespace

Image decode_alpha(std::string_view bytes, const std::string& name, const ImageLimits& limits) {
  Image image;
  if (bytes.starts_with("\x89PNG\r\n\x1A\n")) image = png_alpha(bytes, name, limits);
  if (bytes.size() >= 12 && bytes.starts_with("RIFF") && bytes.substr(8, 4) == "WEBP") {
    image = webp_alpha(bytes, name, limits);
  }
  if (image.width == 0) return image;
  return turn_upright(std::move(image), read_image_metadata(bytes));
}

}  // namespace lorikeet
