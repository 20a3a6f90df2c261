#include "io/image_alpha.h"

#include <gtest/gtest.h>
#include <webp/encode.h>
#include <zlib.h>

#include <random>

#include "core/errors.h"
#include "io/file_test_support.h"

namespace lorikeet {
namespace {

using namespace std::string_literals;

std::string big_endian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

std::string chunk(const std::string& name, const std::string& data) {
  const std::string body = name + data;
  const auto sum = crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  return big_endian(static_cast<uint32_t>(data.size())) + body + big_endian(static_cast<uint32_t>(sum));
}

/// The chunks of a PNG of 2 x 2 pixels, put together by hand: its rows are stored as they are.
struct Png {
  char depth = 8;
  char color = 6;
  std::string upper, lower;  // rows
  std::string before;        // chunks before the pixels

  std::string bytes() const {
    const std::string rows = '\0' + upper + '\0' + lower;
    std::string packed(compressBound(rows.size()), '\0');
    uLongf size = packed.size();
    compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(rows.data()), rows.size());
    const std::string header = big_endian(2) + big_endian(2) + depth + color + "\0\0\0"s;
    return "\x89PNG\r\n\x1A\n" + chunk("IHDR", header) + before + chunk("IDAT", packed.substr(0, size)) +
           chunk("IEND", "");
  }
};

/// One level a pixel; the picture must be grey.
std::vector<int> levels(const Image& image) {
  std::vector<int> result;
  for (size_t i = 0; i < image.pixels.size(); i += 3) {
    EXPECT_EQ(image.pixels[i], image.pixels[i + 1]);
    EXPECT_EQ(image.pixels[i], image.pixels[i + 2]);
    result.push_back(image.pixels[i]);
  }
  return result;
}

void expect_alpha(const std::string& bytes, const std::vector<int>& expected) {
  const auto alpha = decode_alpha(bytes, "x");
  EXPECT_EQ(alpha.width, 2);
  EXPECT_EQ(alpha.height, 2);
  EXPECT_EQ(levels(alpha), expected);
  EXPECT_EQ(decode_image(bytes, "x").pixels.size(), alpha.pixels.size());
}

TEST(DecodeAlpha, ReadsThatOfColourAndOfGreyPngs) {
  expect_alpha(Png{8, 6, "\x01\x02\x03\x00\xFF\xFE\xFD\x11"s, "\x00\x00\x00\xFF\x80\x80\x80\x7F"s, ""}.bytes(),
               {0, 0x11, 255, 0x7F});
  expect_alpha(Png{8, 4, "\x01\x00\xFF\x11"s, "\x00\xFF\x80\x7F"s, ""}.bytes(), {0, 0x11, 255, 0x7F});
}

TEST(DecodeAlpha, ReadsTheHighBytesOfSixteenBits) {
  expect_alpha(
      Png{16, 6, "\1\1\2\2\3\3\0\0\1\1\2\2\3\3\x40\x40"s, "\1\1\2\2\3\3\x80\x80\1\1\2\2\3\3\xFF\xFF"s, ""}.bytes(),
      {0, 0x40, 0x80, 255});
  expect_alpha(Png{16, 4, "\1\1\0\0\1\1\x40\x40"s, "\1\1\x80\x80\1\1\xFF\xFF"s, ""}.bytes(), {0, 0x40, 0x80, 255});
}

TEST(DecodeAlpha, LooksUpThatOfAPalette) {
  const std::string colors = chunk("PLTE", "\1\1\1\2\2\2\3\3\3"s);
  // Two of the three colours have an alpha of their own, the third is opaque.
  expect_alpha(Png{8, 3, "\0\1"s, "\2\0"s, colors + chunk("tRNS", "\x10\x20"s)}.bytes(), {0x10, 0x20, 255, 0x10});
  EXPECT_EQ(decode_alpha(Png{8, 3, "\0\1"s, "\2\0"s, colors}.bytes(), "x").width, 0);
}

TEST(DecodeAlpha, TakesTheOneTransparentColour) {
  expect_alpha(Png{8, 2, "\1\2\3\1\2\4"s, "\1\2\3\0\0\0"s, chunk("tRNS", "\0\1\0\2\0\3"s)}.bytes(), {0, 255, 0, 255});
  expect_alpha(Png{8, 0, "\7\x09"s, "\x08\7"s, chunk("tRNS", "\0\7"s)}.bytes(), {0, 255, 255, 0});
}

TEST(DecodeAlpha, IsEmptyWhereThereIsNone) {
  const Image image{2, 1, {1, 2, 3, 4, 5, 6}};
  for (const auto& bytes : {encode_png(image), encode_jpeg(image), encode_webp(image), "no picture"s, ""s, "RIFF"s}) {
    const auto alpha = decode_alpha(bytes, "x");
    EXPECT_EQ(alpha.width, 0);
    EXPECT_TRUE(alpha.pixels.empty());
  }
}

TEST(DecodeAlpha, IsTurnedAsThePictureIs) {
  // Orientation 6: to be turned clockwise for viewing.
  const std::string exif("II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0", 26);
  const Png png{8, 4, "\x01\x0A\x02\x0B"s, "\x03\x0C\x04\x0D"s, chunk("eXIf", exif)};
  expect_alpha(png.bytes(), {0x0C, 0x0A, 0x0D, 0x0B});
  EXPECT_EQ(levels(decode_image(png.bytes(), "x")), (std::vector<int>{3, 1, 4, 2}));
}

std::string webp_of(const std::string& rgba, int width, int height) {
  uint8_t* output = nullptr;
  const auto size =
      WebPEncodeLosslessRGBA(reinterpret_cast<const uint8_t*>(rgba.data()), width, height, width * 4, &output);
  std::string bytes(reinterpret_cast<const char*>(output), size);
  WebPFree(output);
  return bytes;
}

TEST(DecodeAlpha, ReadsThatOfWebP) {
  expect_alpha(webp_of("\x01\x02\x03\x00\x01\x02\x03\x11\x01\x02\x03\xFF\x01\x02\x03\x7F"s, 2, 2),
               {0, 0x11, 255, 0x7F});
}

TEST(DecodeAlpha, NamesDamagedPictures) {
  const auto png = Png{8, 6, "\1\2\3\4\1\2\3\4"s, "\1\2\3\4\1\2\3\4"s, ""}.bytes();
  for (size_t size = 8; size + 12 < png.size(); ++size) {
    EXPECT_THROW(decode_alpha(std::string_view(png).substr(0, size), "x"), FormatError) << size;
  }
  expect_error<FormatError>("folder/cut.png", [&] { decode_alpha(png.substr(0, 60), "folder/cut.png"); });
  std::string webp = webp_of(std::string(16, '\x55'), 2, 2);
  expect_error<FormatError>("folder/cut.webp", [&] { decode_alpha(webp.substr(0, 20), "folder/cut.webp"); });
  expect_error<FormatError>("folder/cut.webp",
                            [&] { decode_alpha(webp.substr(0, webp.size() - 4), "folder/cut.webp"); });
}

TEST(DecodeAlpha, RefusesMorePixelsThanAllowed) {
  ImageLimits limits;
  limits.max_pixels = 3;
  const auto png = Png{8, 4, "\x01\x0A\x02\x0B"s, "\x03\x0C\x04\x0D"s, ""}.bytes();
  expect_error<FormatError>("at most 3", [&] { decode_alpha(png, "x", limits); });
  expect_error<FormatError>("at most 3", [&] { decode_alpha(webp_of(std::string(16, '\x55'), 2, 2), "x", limits); });
}

TEST(DecodeAlpha, SurvivesFlippedBits) {
  ImageLimits limits;
  limits.max_pixels = 1 << 16;
  std::mt19937 random(3);
  const std::string originals[] = {
      Png{8, 6, "\1\2\3\4\1\2\3\4"s, "\1\2\3\4\1\2\3\4"s, ""}.bytes(),
      Png{8, 3, "\0\1"s, "\1\0"s, chunk("PLTE", "\1\1\1\2\2\2"s) + chunk("tRNS", "\x10\x20"s)}.bytes(),
      webp_of(std::string(16, '\x55'), 2, 2)};
  int refused = 0;
  for (const auto& original : originals) {
    for (int round = 0; round < 1000; ++round) {
      std::string bytes = original;
      for (int i = 0; i < 3; ++i) bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
      try {
        const auto alpha = decode_alpha(bytes, "x", limits);
        ASSERT_EQ(alpha.pixels.size(), static_cast<size_t>(alpha.width) * alpha.height * 3);
      } catch (const FormatError&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace lorikeet
