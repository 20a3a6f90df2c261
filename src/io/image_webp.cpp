#include <webp/decode.h>
#include <webp/demux.h>
#include <webp/encode.h>

#include <algorithm>
#include <memory>

#include "core/errors.h"
#include "core/text.h"
#include "io/image_codecs.h"

namespace lorikeet {
namespace {

const uint8_t* as_bytes(std::string_view bytes) { return reinterpret_cast<const uint8_t*>(bytes.data()); }

/// Only the animation decoder places the first frame on its canvas.
void decode_first_frame(std::string_view bytes, const std::string& name, Image& image) {
  const WebPData data{as_bytes(bytes), bytes.size()};
  WebPAnimDecoderOptions options;
  if (!WebPAnimDecoderOptionsInit(&options)) throw Error("libwebpdemux is of another version than its headers");
  options.color_mode = MODE_RGBA;
  const std::unique_ptr<WebPAnimDecoder, decltype(&WebPAnimDecoderDelete)> decoder(WebPAnimDecoderNew(&data, &options),
                                                                                   WebPAnimDecoderDelete);
  uint8_t* canvas = nullptr;
  int timestamp = 0;
  if (!decoder || !WebPAnimDecoderGetNext(decoder.get(), &canvas, &timestamp)) {
    throw_damaged(name, "WebP", "its first frame cannot be decoded");
  }
  uint8_t* target = image.pixels.data();
  const size_t pixels = image.pixels.size() / 3;
  for (size_t i = 0; i < pixels; ++i) target = std::copy_n(canvas + i * 4, 3, target);
}

}  // namespace

Image decode_webp(std::string_view bytes, const std::string& name, const ImageLimits& limits) {
  WebPBitstreamFeatures features;
  const VP8StatusCode status = WebPGetFeatures(as_bytes(bytes), bytes.size(), &features);
  if (status != VP8_STATUS_OK) {
    throw_damaged(name, "WebP", status == VP8_STATUS_NOT_ENOUGH_DATA ? "it ends within its header" : "bad header");
  }
  Image image = allocate_image(features.width, features.height, name, limits);
  if (features.has_animation) {
    decode_first_frame(bytes, name, image);
  } else if (!WebPDecodeRGBInto(as_bytes(bytes), bytes.size(), image.pixels.data(), image.pixels.size(),
                                image.width * 3)) {
    throw_damaged(name, "WebP", "its pixels cannot be decoded");
  }
  return image;
}

std::string encode_webp(const Image& image, int quality) {
  check_pixels(image);
  if (image.width > WEBP_MAX_DIMENSION || image.height > WEBP_MAX_DIMENSION) {
    throw UsageError(str("cannot write a WebP picture of ", image.width, " x ", image.height,
                         " pixels: at most 16383 x 16383 are possible"));
  }
  uint8_t* bytes = nullptr;
  const size_t size = WebPEncodeRGB(image.pixels.data(), image.width, image.height, image.width * 3,
                                    static_cast<float>(quality), &bytes);
  const std::unique_ptr<uint8_t, decltype(&WebPFree)> owner(bytes, WebPFree);
  if (size == 0) throw Error("libwebp could not encode the picture");
  return {reinterpret_cast<const char*>(bytes), size};
}

}  // namespace lorikeet
