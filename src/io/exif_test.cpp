#include "io/exif.h"

#include <gtest/gtest.h>

#include <random>

namespace lorikeet {
namespace {

using namespace std::string_literals;

const std::string kLittle = "II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"s;
const std::string kBig = "MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0\0\0\0\0"s;

TEST(ExifOrientation, ReadsBothByteOrders) {
  EXPECT_EQ(exif_orientation(kLittle), 6);
  EXPECT_EQ(exif_orientation(kBig), 8);
  EXPECT_EQ(exif_orientation("Exif\0\0"s + kBig), 8);
}

TEST(ExifOrientation, IsAbsentFromDamagedBlocks) {
  EXPECT_EQ(exif_orientation(""), std::nullopt);
  EXPECT_EQ(exif_orientation("Exif\0\0"s), std::nullopt);
  EXPECT_EQ(exif_orientation("XX*\0"s), std::nullopt);
  for (size_t size = 0; size < 22; ++size) EXPECT_EQ(exif_orientation(kLittle.substr(0, size)), std::nullopt) << size;
  std::string far = kLittle;
  far.replace(4, 4, "\xFF\xFF\xFF\xFF");
  EXPECT_EQ(exif_orientation(far), std::nullopt);
  std::string text = kLittle;
  text[12] = 2;  // a string
  EXPECT_EQ(exif_orientation(text), std::nullopt);
}

TEST(ExifOrientation, SurvivesAnyBytes) {
  std::mt19937 random(5);
  for (int round = 0; round < 20000; ++round) {
    std::string block = round % 2 ? kLittle : kBig;
    for (int i = 0; i < 4; ++i) block[4 + random() % (block.size() - 4)] = static_cast<char>(random());
    exif_orientation(block);
  }
}

TEST(XmpOrientation, ReadsAttributeAndElement) {
  EXPECT_EQ(xmp_orientation("<a tiff:Orientation=\"3\"/>"), 3);
  EXPECT_EQ(xmp_orientation("<tiff:Orientation>5</tiff:Orientation>"), 5);
  EXPECT_EQ(xmp_orientation("<a tiff:Orientation='3'/>"), std::nullopt);
  EXPECT_EQ(xmp_orientation("tiff:Orientation tiff:Orientation=\"7\""), 7);
  EXPECT_EQ(xmp_orientation("tiff:Orientation=\""), std::nullopt);
}

TEST(ReadImageMetadata, SurvivesAnyBytes) {
  std::mt19937 random(6);
  for (const std::string& start : {"\xFF\xD8\xFF\xE1"s, "\x89PNG\r\n\x1A\n\0\0\0\x20zTXt"s, "RIFF\0\0\0\0WEBPEXIF"s}) {
    for (int round = 0; round < 5000; ++round) {
      std::string bytes = start;
      const size_t length = random() % 60;
      for (size_t i = 0; i < length; ++i) bytes += static_cast<char>(random() % 3 ? random() % 4 : random());
      read_image_metadata(bytes);
    }
  }
}

TEST(TurnUpright, PrefersExifAndIgnoresNonsense) {
  const Image image{2, 1, {1, 1, 1, 2, 2, 2}};
  const std::string upside_down = "tiff:Orientation=\"3\"";
  EXPECT_EQ(turn_upright(image, {kLittle, upside_down}).height, 2);
  EXPECT_EQ(turn_upright(image, {"", upside_down}).pixels, (std::vector<uint8_t>{2, 2, 2, 1, 1, 1}));
  EXPECT_EQ(turn_upright(image, {}).pixels, image.pixels);
  EXPECT_EQ(turn_upright(image, {"", "tiff:Orientation=\"9\""}).pixels, image.pixels);
}

}  // namespace
}  // namespace lorikeet
