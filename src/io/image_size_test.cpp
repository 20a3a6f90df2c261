#include "io/image_size.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "core/errors.h"
#include "io/file_test_support.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;

const std::string kTurnedRight("Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0", 32);

Image flat(int width, int height) {
  return {width, height, std::vector<uint8_t>(static_cast<size_t>(width) * height * 3, 90)};
}

std::string big_endian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

/// The chunk without its checksum's value: nothing here looks at it.
std::string png_chunk(const std::string& type, const std::string& data) {
  return big_endian(static_cast<uint32_t>(data.size())) + type + data + "\0\0\0\0";
}

std::string jpeg_with(const std::string& segments) {
  const std::string jpeg = encode_jpeg(flat(40, 20));
  return jpeg.substr(0, 2) + segments + jpeg.substr(2);
}

TEST(ImageSize, IsThatOfEveryFormat) {
  const TestFolder folder;
  EXPECT_EQ(read_image_size(folder.write("a", encode_png(flat(31, 7)))), (ImageSize{31, 7}));
  EXPECT_EQ(read_image_size(folder.write("a", encode_jpeg(flat(300, 1)))), (ImageSize{300, 1}));
  EXPECT_EQ(read_image_size(folder.write("a", encode_webp(flat(17, 400)))), (ImageSize{17, 400}));
}

TEST(ImageSize, IsTurnedByExifBeforeTheFrameHeader) {
  const TestFolder folder;
  const std::string exif = std::string("\xFF\xE1\0\x22", 4) + kTurnedRight;
  EXPECT_EQ(read_image_size(folder.write("a", jpeg_with(exif))), (ImageSize{20, 40}));
  const std::string other = std::string("\xFF\xE1\0\x22", 4) + "Exxx" + kTurnedRight.substr(4);
  EXPECT_EQ(read_image_size(folder.write("a", jpeg_with(other))), (ImageSize{40, 20}));
}

TEST(ImageSize, IsReadFromAPartOfAFile) {
  const TestFolder folder;
  const std::string png = encode_png(flat(31, 7));
  const auto file = folder.write("a", "before" + png + "behind");
  const auto size = static_cast<int64_t>(png.size());
  EXPECT_EQ(read_image_size(file, 6, size, "row 1"), (ImageSize{31, 7}));
  EXPECT_EQ(read_image_size(file, 6, -1, "row 1"), (ImageSize{31, 7}));
  expect_error<FormatError>("row 1 is not a picture", [&] { read_image_size(file, 5, size, "row 1"); });
  expect_error<FormatError>("row 1 is a damaged PNG file", [&] { read_image_size(file, 6, 20, "row 1"); });
  expect_error<FileError>("cannot read row 1", [&] { read_image_size(file, 6, size + 7, "row 1"); });
  expect_error<FileError>("cannot read row 1", [&] { read_image_size(file, -1, 5, "row 1"); });
  expect_error<FileError>("cannot read row 1", [&] { read_image_size(file, 0, -2, "row 1"); });
  expect_error<FileError>("cannot read row 1", [&] { read_image_size(file, INT64_MAX, INT64_MAX, "row 1"); });
}

TEST(ImageSize, DoesNotReadThePixels) {
  const TestFolder folder;
  // A gigabyte of pixels that are not there: a sparse file.
  const std::string head = encode_png(flat(31, 7)).substr(0, 33) + big_endian(1'000'000'000) + "IDAT";
  const auto file = folder.write("a", head);
  fs::resize_file(file, head.size() + 1'000'000'004);
  EXPECT_EQ(read_image_size(file), (ImageSize{31, 7}));
}

TEST(ImageSize, RefusesWhatDecodingRefuses) {
  const TestFolder folder;
  expect_error<FileError>("gone", [&] { read_image_size(folder.path() / "gone"); });
  expect_error<FileError>("not a regular file", [&] { read_image_size(folder.path()); });
  expect_error<FormatError>("is empty", [&] { read_image_size(folder.write("a", "")); });
  const auto hint = expect_error<FormatError>("a GIF file", [&] { read_image_size(folder.write("a", "GIF89a")); });
  EXPECT_EQ(hint, "convert the picture to PNG, JPEG or WebP");
  const std::string huge = png_chunk("IHDR", big_endian(60000) + big_endian(60000) + std::string("\x08\x02\0\0\0", 5));
  expect_error<FormatError>("60000 x 60000", [&] { read_image_size(folder.write("a", "\x89PNG\r\n\x1A\n" + huge)); });
  ImageLimits limits;
  limits.max_pixels = 31 * 7 - 1;
  expect_error<FormatError>("31 x 7", [&] { read_image_size(folder.write("a", encode_png(flat(31, 7))), limits); });
  limits = {};
  limits.max_bytes = 10;
  expect_error<FormatError>("at most 10", [&] { read_image_size(folder.write("a", encode_png(flat(3, 7))), limits); });
  expect_error<FormatError>("no frame header", [&] { read_image_size(folder.write("a", "\xFF\xD8\xFF\xD9")); });
  expect_error<FormatError>("WebP", [&] { read_image_size(folder.write("a", "RIFF1234WEBPVP8 ")); });
}

TEST(ImageSize, RefusesNotesWithoutMeasure) {
  const TestFolder folder;
  std::string png = encode_png(flat(31, 7)).substr(0, 33) + big_endian(50'000'000) + "eXIf";
  const auto file = folder.write("a", png);
  fs::resize_file(file, png.size() + 50'000'004);
  expect_error<FormatError>("MiB of EXIF", [&] { read_image_size(file); });
}

/// Whatever is in the file: an answer or an Error, and the same size as decoding gives, where that gives one.
TEST(ImageSize, SurvivesDamage) {
  const TestFolder folder;
  const std::string exif = std::string("\xFF\xE1\0\x22", 4) + kTurnedRight;
  const std::string png = encode_png(flat(40, 20));
  const std::string turned_png = png.substr(0, 33) + png_chunk("eXIf", kTurnedRight.substr(6)) + png.substr(33);
  const std::string webp = encode_webp(flat(40, 20));
  std::string canvas("VP8X\x0A\0\0\0\x08\0\0\0\x27\0\0\x13\0\0", 18);
  const std::string large_webp =
      webp.substr(0, 12) + canvas + webp.substr(12) + "EXIF" + std::string("\x20\0\0\0", 4) + kTurnedRight;
  const std::string seeds[] = {jpeg_with(exif), turned_png, webp, large_webp};
  std::mt19937 random(5);
  const auto below = [&](size_t limit) { return std::uniform_int_distribution<size_t>(0, limit - 1)(random); };
  ImageLimits limits;
  limits.max_pixels = 1 << 16;
  int measured = 0, decoded = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string bytes = seeds[round % 4];
    for (size_t i = 0; i < 1 + below(3); ++i)
      bytes[below(std::min<size_t>(bytes.size(), 200))] = static_cast<char>(random());
    if (below(4) == 0) bytes.resize(below(bytes.size()) + 1);
    ImageSize size;
    fs::remove(folder.path() / "a");  // writing over a file waits for the disk
    try {
      size = read_image_size(folder.write("a", bytes), limits);
      ++measured;
    } catch (const Error&) {
    }
    try {
      const Image image = decode_image(bytes, "a", limits);
      EXPECT_EQ(size, (ImageSize{image.width, image.height})) << "round " << round;
      ++decoded;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(decoded, 500);
  EXPECT_GT(measured, decoded);
}

}  // namespace
}  // namespace lorikeet
