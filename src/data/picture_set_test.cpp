#include "data/picture_set.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "data/data_test_support.h"
#include "engine/random.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;

const PictureTransform kSide64{64, Interpolation::kLanczos};

/// The pictures of a folder, with what was passed over.
struct Opened {
  explicit Opened(const fs::path& folder, PictureTransform transform = kSide64, int64_t limit = -1)
      : set(list_pictures(folder, skipped, limit), transform) {}
  std::vector<std::string> skipped;
  PictureSet set;
};

TEST(PictureSet, TakesPicturesInOrderOfTheirNamesAndTellsTheRest) {
  const TemporaryFolder folder;
  for (const char* name : {"b.png", "a10.jpg", "a9.webp", "B.png", "c.png"}) write_image(folder / name, noise(64, 64));
  fs::rename(folder / "c.png", folder / "picture-without-an-ending");
  std::ofstream(folder / "notes.png") << "no picture, whatever its name says";
  std::ofstream(folder / "empty.jpg").flush();
  fs::create_directory(folder / "folder.png");
  fs::create_symlink(folder / "gone", folder / "dangling.png");
  const Opened pictures(folder.path());
  std::vector<std::string> names;
  for (const auto& record : pictures.set.records()) names.push_back(record.file.filename());
  EXPECT_EQ(names, (std::vector<std::string>{"B.png", "a10.jpg", "a9.webp", "b.png", "picture-without-an-ending"}));
  EXPECT_EQ(pictures.skipped, (std::vector<std::string>{"dangling.png", "empty.jpg", "folder.png", "notes.png"}));
}

TEST(PictureSet, TakesTheFirstUpToALimit) {
  const TemporaryFolder folder;
  for (const char* name : {"2.png", "0.png", "1.png"}) write_image(folder / name, noise(64, 64));
  const Opened pictures(folder.path(), kSide64, 2);
  ASSERT_EQ(pictures.set.size(), 2);
  EXPECT_EQ(pictures.set.record(1).name, "1.png");
  EXPECT_TRUE(pictures.skipped.empty());
  EXPECT_EQ(Opened(folder.path(), kSide64, 9).set.size(), 3);
}

std::string refusal(const fs::path& folder) {
  try {
    Opened(folder).set.preload();
  } catch (const Error& error) {
    EXPECT_FALSE(error.hint().empty());
    return error.what();
  }
  return "";
}

TEST(PictureSet, RefusesFoldersWithoutPictures) {
  const TemporaryFolder folder;
  EXPECT_NE(refusal(folder / "none").find("No such file"), std::string::npos);
  EXPECT_NE(refusal(folder.path()).find("it is empty"), std::string::npos);
  for (int i = 0; i < 7; ++i) std::ofstream(folder / std::to_string(i)) << "text";
  EXPECT_NE(refusal(folder.path()).find("only 0, 1, 2, 3, 4 and 2 more"), std::string::npos) << refusal(folder.path());
}

TEST(PictureSet, NamesADamagedPictureWhenPreloading) {
  const TemporaryFolder folder;
  write_image(folder / "good.jpg", noise(80, 70));
  const auto bytes = read_file(folder / "good.jpg");
  write_file_atomically(folder / "half.jpg", bytes.substr(0, bytes.size() / 2));
  EXPECT_NE(refusal(folder.path()).find("half.jpg"), std::string::npos);
}

TEST(PictureSet, SeveralThreadsPreloadTheSameAndNameTheFirstDamagedPicture) {
  const TemporaryFolder folder;
  for (int i = 0; i < 9; ++i) write_image(folder / (std::to_string(i) + ".png"), noise(64 + i, 70));
  Opened first(folder.path()), second(folder.path());
  PictureSet &one = first.set, &four = second.set;
  one.preload();
  four.preload(4);
  for (int i = 0; i < 9; ++i) {
    EXPECT_EQ(one.resized_extent(i), four.resized_extent(i));
    EXPECT_TRUE(torch::equal(one.pixels(i, {}), four.pixels(i, {}))) << i;
  }
  for (const char* name : {"3.png", "5.png", "8.png"}) {
    write_file_atomically(folder / name, read_file(folder / name).substr(0, 200));
  }
  try {
    Opened(folder.path()).set.preload(4);
    ADD_FAILURE() << "three damaged pictures are not noticed";
  } catch (const FormatError& error) {
    EXPECT_NE(std::string(error.what()).find("3.png"), std::string::npos) << error.what();
  }
}

TEST(PictureSet, NamesASliverThatWouldBeStretchedBeyondMeasure) {
  const TemporaryFolder folder;
  write_image(folder / "sliver.png", noise(1, 4097));
  EXPECT_NE(refusal(folder.path()).find("sliver.png is 1 x 4097"), std::string::npos);
  write_image(folder / "sliver.png", noise(1, 4096));
  EXPECT_EQ(refusal(folder.path()), "");
}

TEST(PictureSet, ResizesTheShorterSideAndRoundsTheLongerOneDown) {
  const TemporaryFolder folder;
  write_image(folder / "0.png", noise(100, 70));
  write_image(folder / "1.png", noise(70, 71));
  write_image(folder / "2.png", noise(64, 64));
  write_image(folder / "3.png", noise(20, 50));
  Opened opened(folder.path());
  PictureSet& pictures = opened.set;
  EXPECT_EQ(pictures.resized_extent(0), (PictureExtent{64, 91}));
  EXPECT_EQ(pictures.resized_extent(1), (PictureExtent{64, 64}));
  EXPECT_EQ(pictures.resized_extent(2), (PictureExtent{64, 64}));
  EXPECT_EQ(pictures.resized_extent(3), (PictureExtent{160, 64}));
}

TEST(PictureSet, TurnsPicturesAsTheirExifSays) {
  const TemporaryFolder folder;
  // Orientation 6: to be turned clockwise for viewing. An APP1 segment behind the JPEG's first two bytes.
  const std::string tiff("II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0", 26);
  const std::string segment = std::string(
                                  "\xff\xe1\0\x22"
                                  "Exif\0\0",
                                  10) +
                              tiff;
  write_image(folder / "plain.jpg", noise(128, 64));
  const auto bytes = read_file(folder / "plain.jpg");
  write_file_atomically(folder / "turned.jpg", bytes.substr(0, 2) + segment + bytes.substr(2));
  Opened opened(folder.path());
  PictureSet& pictures = opened.set;
  EXPECT_EQ(pictures.resized_extent(0), (PictureExtent{64, 128}));
  ASSERT_EQ(pictures.resized_extent(1), (PictureExtent{128, 64}));
  EXPECT_TRUE(torch::equal(pictures.pixels(0, {0, 64}).rot90(-1, {1, 2}), pictures.pixels(1, {64, 0})));
}

TEST(PictureSet, RandomCropDrawsNothingForASquareAndTwoIntegersOtherwise) {
  const TemporaryFolder folder;
  write_image(folder / "square.png", noise(90, 90));
  write_image(folder / "tall.png", noise(64, 100));
  Opened opened(folder.path());
  PictureSet& pictures = opened.set;
  auto generator = make_generator(5), witness = make_generator(5);
  EXPECT_EQ(pictures.random_crop(0, generator), Crop{});
  EXPECT_TRUE(torch::equal(generator_state(generator), generator_state(witness)));
  const Crop crop = pictures.random_crop(1, generator);
  EXPECT_EQ(crop.top, draw_integer(0, 37, witness));
  EXPECT_EQ(crop.left, draw_integer(0, 1, witness));
  EXPECT_TRUE(torch::equal(generator_state(generator), generator_state(witness)));
}

TEST(PictureSet, HoldsOnlyCutsWithinThePicture) {
  const TemporaryFolder folder;
  write_image(folder / "tall.png", noise(64, 100));
  Opened opened(folder.path());
  PictureSet& pictures = opened.set;
  EXPECT_TRUE(pictures.holds(0, {0, 0}));
  EXPECT_TRUE(pictures.holds(0, {36, 0}));
  EXPECT_FALSE(pictures.holds(0, {37, 0}));
  EXPECT_FALSE(pictures.holds(0, {0, 1}));
  EXPECT_FALSE(pictures.holds(0, {-1, 0}));
  EXPECT_FALSE(pictures.holds(0, {0, -1}));
}

// Expected values: tools/reference/loader_order.py.
TEST(PictureSet, PixelsAreToTensorAndNormalizeToTheBit) {
  const auto expected = nlohmann::json::parse(read_file("tests/data/loader_order.json")).at("pixels");
  const TemporaryFolder folder;
  auto image = noise(256, 256);
  for (int x = 0; x < 256; ++x) {
    auto* pixel = image.pixels.data() + static_cast<size_t>(3 * (256 * 7 + x));  // in row 7
    pixel[0] = pixel[2] = static_cast<uint8_t>(x);
    pixel[1] = static_cast<uint8_t>(255 - x);
  }
  write_image(folder / "ramp.png", image);
  Opened opened(folder.path(), {256, Interpolation::kLanczos});
  PictureSet& pictures = opened.set;
  const auto pixels = pictures.pixels(0, {});
  ASSERT_EQ(pixels.sizes(), (std::vector<int64_t>{3, 256, 256}));
  ASSERT_TRUE(pixels.is_contiguous());
  for (int channel = 0; channel < 3; ++channel) {
    for (int x = 0; x < 256; ++x) {
      EXPECT_EQ(pixels[channel][7][x].item<float>(), expected[channel][x].get<float>()) << channel << ", " << x;
    }
  }
}

TEST(PictureSet, PixelsAreThoseOfTheCut) {
  const TemporaryFolder folder;
  write_image(folder / "wide.png", noise(100, 64));
  Opened opened(folder.path());
  PictureSet& pictures = opened.set;
  const auto left = pictures.pixels(0, {0, 0}), right = pictures.pixels(0, {0, 36});
  EXPECT_TRUE(torch::equal(left.slice(2, 36), right.slice(2, 0, 28)));
  EXPECT_FALSE(torch::equal(left, right));
}

TEST(PictureSet, MirrorsACutThatIsFlipped) {
  const TemporaryFolder folder;
  write_image(folder / "wide.png", noise(100, 64));
  Opened opened(folder.path());
  const auto plain = opened.set.pixels(0, {0, 20}), mirrored = opened.set.pixels(0, {0, 20}, true);
  EXPECT_TRUE(torch::equal(plain.flip(2), mirrored));
  EXPECT_TRUE(mirrored.is_contiguous());
}

TEST(PictureSet, GivesTheSamePixelsDecodedAheadOrWhenAskedFor) {
  const TemporaryFolder folder;
  for (int i = 0; i < 40; ++i) write_image(folder / (std::to_string(100 + i) + ".png"), noise(64 + i, 70));
  Opened plain(folder.path()), ahead(folder.path());
  ahead.set.start_ahead(3);
  ahead.set.announce({5, 3, 39, 0, 5, 7});
  for (int64_t i : {7, 0, 5, 3, 39, 20, 5}) {
    EXPECT_TRUE(torch::equal(plain.set.pixels(i, {}), ahead.set.pixels(i, {}))) << i;
  }
  std::vector<int64_t> all(40);
  for (int64_t i = 0; i < 40; ++i) all[static_cast<size_t>(i)] = 39 - i;
  ahead.set.announce(all);  // left unread at the end
}

TEST(PictureSet, GivesUpWhatIsAnnouncedNoLonger) {
  const TemporaryFolder folder;
  for (int i = 0; i < 100; ++i) write_image(folder / (std::to_string(100 + i) + ".png"), noise(64 + i, 70));
  Opened plain(folder.path()), ahead(folder.path());
  ahead.set.start_ahead(2);
  // More than is ever kept ready, of which only every tenth is asked for.
  for (int64_t i = 0; i < 100; ++i) {
    ahead.set.announce({i, (i + 1) % 100, (i + 2) % 100});
    if (i % 10 == 0) EXPECT_TRUE(torch::equal(plain.set.pixels(i, {}), ahead.set.pixels(i, {}))) << i;
  }
  ahead.set.let_go();
  ahead.set.announce({3});
  EXPECT_TRUE(torch::equal(plain.set.pixels(3, {}), ahead.set.pixels(3, {})));
}

TEST(PictureSet, KnowsTheSizesOfPicturesItLetGo) {
  const TemporaryFolder folder;
  write_image(folder / "wide.png", noise(100, 64));
  Opened opened(folder.path());
  opened.set.preload();
  const auto extent = opened.set.resized_extent(0);
  opened.set.let_go();
  std::filesystem::remove(folder / "wide.png");
  EXPECT_EQ(opened.set.resized_extent(0), extent);
  EXPECT_THROW(opened.set.pixels(0, {}), FileError);
}

TEST(PictureSet, NamesADamagedPictureThatWasDecodedAhead) {
  const TemporaryFolder folder;
  write_image(folder / "good.jpg", noise(80, 70));
  const auto bytes = read_file(folder / "good.jpg");
  write_file_atomically(folder / "half.jpg", bytes.substr(0, bytes.size() / 2));
  Opened opened(folder.path());
  opened.set.start_ahead(1);
  opened.set.announce({0, 1});
  EXPECT_NO_THROW(opened.set.pixels(0, {}));
  EXPECT_THROW(opened.set.pixels(1, {}), FormatError);
}

TEST(PictureSet, TakesTheMaskBesideAPictureElseItsAlphaElseAll) {
  const TemporaryFolder folder;
  auto half = noise(64, 64);
  for (size_t i = 0; i < half.pixels.size(); ++i) half.pixels[i] = i / 3 % 64 < 32 ? 0 : 255;
  write_image(folder / "a.png", noise(64, 64));
  write_image(folder / "a.mask.png", half);
  write_image(folder / "b.jpg", noise(64, 64));
  Opened opened(folder.path());
  ASSERT_EQ(opened.set.size(), 2) << "a mask is no picture";
  const auto mask = opened.set.mask(0, {});
  ASSERT_EQ(mask.sizes(), (std::vector<int64_t>{1, 64, 64}));
  EXPECT_EQ(mask.slice(2, 0, 32).sum().item<float>(), 0);
  EXPECT_TRUE(mask.slice(2, 32).eq(1).all().item<bool>());
  EXPECT_TRUE(torch::equal(opened.set.mask(0, {}, true), mask.flip(2)));
  EXPECT_TRUE(opened.set.mask(1, {}).eq(1).all().item<bool>());
}

TEST(PictureSet, CutsToTheSizeOfItsBucket) {
  const TemporaryFolder folder;
  write_image(folder / "wide.png", noise(200, 100));
  Opened opened(folder.path());
  opened.set.set_fits({{{50, 100}, {48, 96}}});
  EXPECT_EQ(opened.set.resized_extent(0), (PictureExtent{50, 100}));
  EXPECT_EQ(opened.set.center_crop(0), (Crop{1, 2}));
  EXPECT_EQ(opened.set.pixels(0, {1, 2}).sizes(), (std::vector<int64_t>{3, 48, 96}));
  EXPECT_FALSE(opened.set.holds(0, {3, 0}));
}

}  // namespace
}  // namespace lorikeet
