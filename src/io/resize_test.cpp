// Byte equality with Pillow is shown by tests/image_test.py; here is what needs no Pillow.
#include <gtest/gtest.h>

#include "core/errors.h"
#include "io/image.h"

namespace lorikeet {
namespace {

const Interpolation kAll[] = {Interpolation::kNearest,  Interpolation::kNearestExact, Interpolation::kBox,
                              Interpolation::kBilinear, Interpolation::kHamming,      Interpolation::kBicubic,
                              Interpolation::kLanczos};

Image gray_row(const std::vector<uint8_t>& levels) {
  Image image{static_cast<int>(levels.size()), 1, {}};
  for (const uint8_t level : levels) image.pixels.insert(image.pixels.end(), 3, level);
  return image;
}

std::vector<uint8_t> levels_of(const Image& image) {
  std::vector<uint8_t> levels;
  for (size_t i = 0; i < image.pixels.size(); i += 3) levels.push_back(image.pixels[i]);
  return levels;
}

TEST(ResizeImage, KeepsAFlatPictureFlat) {
  const Image flat{17, 11, std::vector<uint8_t>(17 * 11 * 3, 203)};
  for (const Interpolation filter : kAll) {
    for (const auto& [width, height] : {std::pair{5, 31}, {40, 3}, {1, 1}, {17, 4}, {6, 11}}) {
      const Image resized = resize_image(flat, width, height, filter);
      EXPECT_EQ(resized.pixels, std::vector<uint8_t>(static_cast<size_t>(width) * height * 3, 203));
    }
  }
}

TEST(ResizeImage, OfTheSameSizeIsACopy) {
  const Image image = gray_row({1, 200, 3});
  for (const Interpolation filter : kAll) EXPECT_EQ(resize_image(image, 3, 1, filter).pixels, image.pixels);
}

TEST(ResizeImage, AveragesWithBox) {
  EXPECT_EQ(levels_of(resize_image(gray_row({0, 10, 100, 201}), 2, 1, Interpolation::kBox)),
            (std::vector<uint8_t>{5, 151}));
}

TEST(ResizeImage, TakesTheMiddleWithNearest) {
  EXPECT_EQ(levels_of(resize_image(gray_row({0, 1, 2, 3, 4, 5, 6, 7, 8}), 3, 1, Interpolation::kNearest)),
            (std::vector<uint8_t>{1, 4, 7}));
}

TEST(ResizeImage, ClipsOvershoot) {
  const auto levels = levels_of(resize_image(gray_row({0, 0, 0, 255, 255, 255}), 24, 1, Interpolation::kLanczos));
  EXPECT_EQ(levels.front(), 0);
  EXPECT_EQ(levels.back(), 255);
}

TEST(ResizeImage, RefusesEmptySizes) {
  EXPECT_THROW(resize_image(gray_row({1}), 0, 1, Interpolation::kBox), UsageError);
  EXPECT_THROW(resize_image(gray_row({1}), 1, -1, Interpolation::kBox), UsageError);
  EXPECT_THROW(resize_image(Image{}, 4, 4, Interpolation::kBox), UsageError);
}

TEST(ParseInterpolation, KnowsPillowsNames) {
  EXPECT_EQ(parse_interpolation("lanczos"), Interpolation::kLanczos);
  EXPECT_EQ(parse_interpolation("nearest_exact"), Interpolation::kNearestExact);
  try {
    parse_interpolation("cubic");
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(),
                 "no interpolation is called \"cubic\": expected one of nearest, nearest_exact, box, "
                 "bilinear, hamming, bicubic, lanczos");
  }
}

}  // namespace
}  // namespace lorikeet
