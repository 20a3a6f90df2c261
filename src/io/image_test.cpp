#include "io/image.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>

#include "core/errors.h"
#include "core/log.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;

Image photo(int width, int height) {
  Image image{width, height, {}};
  std::mt19937 random(7);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < 3; ++c)
        image.pixels.push_back(static_cast<uint8_t>((x * 5 + y * 3 * c + random() % 9) & 255));
    }
  }
  return image;
}

std::string message_of(std::string_view bytes, const ImageLimits& limits = {}) {
  try {
    decode_image(bytes, "x", limits);
  } catch (const FormatError& error) {
    EXPECT_FALSE(error.hint().empty() && !bytes.empty() && bytes[0] == '\xFF') << "a damaged file needs a hint";
    return error.what();
  }
  return "(decoded)";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

using Encoder = std::string (*)(const Image&);
const std::pair<const char*, Encoder> kEncoders[] = {
    {"PNG", encode_png},
    {"JPEG", [](const Image& image) { return encode_jpeg(image); }},
    {"WebP", [](const Image& image) { return encode_webp(image); }},
};

TEST(DecodeImage, ReadsBackWhatWasWritten) {
  const Image image = photo(37, 21);
  EXPECT_EQ(decode_image(encode_png(image), "x").pixels, image.pixels);
  for (const auto& [format, encode] : kEncoders) {
    const Image decoded = decode_image(encode(image), "x");
    EXPECT_EQ(decoded.width, 37) << format;
    EXPECT_EQ(decoded.height, 21) << format;
  }
}

TEST(DecodeImage, NamesWhatIsNoPicture) {
  EXPECT_EQ(message_of(""), "x is empty: a JPEG, PNG or WebP picture was expected");
  EXPECT_EQ(message_of("some text"), "x is not a picture: JPEG, PNG or WebP was expected");
  EXPECT_TRUE(contains(message_of("GIF89a......"), "a GIF file"));
  EXPECT_TRUE(contains(message_of(std::string("II*\0", 4)), "a TIFF file"));
  EXPECT_TRUE(contains(message_of("....ftypavif"), "AVIF"));
  EXPECT_TRUE(contains(message_of("version https://git-lfs.github.com/spec/v1"), "Git LFS pointer"));
  EXPECT_EQ(message_of("RIFF"), "x is not a picture: JPEG, PNG or WebP was expected");
}

TEST(DecodeImage, RefusesTruncatedFilesOfAnyLength) {
  const Image image = photo(24, 16);
  for (const auto& [format, encode] : kEncoders) {
    const std::string bytes = encode(image);
    // PNG's last 12 bytes say only that it ends, WebP may end with one byte of padding.
    const size_t needed = bytes.size() - (format == std::string("PNG") ? 12 : 1);
    for (size_t size = 0; size < needed; ++size) {
      EXPECT_NE(message_of(std::string_view(bytes).substr(0, size)), "(decoded)") << format << " " << size;
    }
  }
}

TEST(DecodeImage, SurvivesFlippedBits) {
  const Image image = photo(48, 40);
  ImageLimits limits;
  limits.max_pixels = 1 << 20;
  set_log_sink([](LogLevel, std::string_view) {});
  const auto started = std::chrono::steady_clock::now();
  std::mt19937 random(3);
  int refused = 0;
  for (const auto& [format, encode] : kEncoders) {
    const std::string original = encode(image);
    for (int round = 0; round < 1500; ++round) {
      std::string bytes = original;
      const int flips = 1 + static_cast<int>(random() % 8);
      // Half of the rounds spare all but the headers, where damage does the strangest things.
      const size_t reach = round % 2 ? std::min<size_t>(bytes.size(), 100) : bytes.size();
      for (int i = 0; i < flips; ++i) bytes[random() % reach] ^= static_cast<char>(1 << random() % 8);
      if (round % 5 == 0) bytes.resize(random() % bytes.size());
      try {
        const Image decoded = decode_image(bytes, "x", limits);
        ASSERT_EQ(decoded.pixels.size(), static_cast<size_t>(decoded.width) * decoded.height * 3) << format;
      } catch (const FormatError&) {
        ++refused;
      }
    }
  }
  set_log_sink({});
  EXPECT_GT(refused, 500);
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(60));
}

TEST(DecodeImage, RefusesMorePixelsThanAllowed) {
  ImageLimits limits;
  limits.max_pixels = 37 * 21 - 1;
  for (const auto& [format, encode] : kEncoders) {
    EXPECT_TRUE(contains(message_of(encode(photo(37, 21)), limits), "37 x 21 pixels: at most 776 are accepted"))
        << format;
  }
  ++limits.max_pixels;
  for (const auto& [format, encode] : kEncoders) EXPECT_EQ(message_of(encode(photo(37, 21)), limits), "(decoded)");
}

TEST(DecodeImage, RefusesMoreBytesThanAllowed) {
  ImageLimits limits;
  limits.max_bytes = 100;
  EXPECT_TRUE(contains(message_of(std::string(101, 'x'), limits), "101 bytes: at most 100"));
}

TEST(DecodeImage, RefusesAPngHeaderThatClaimsTooMuch) {
  std::string bytes = encode_png(photo(8, 8));
  for (const size_t at : {16, 20}) bytes.replace(at, 4, "\x7F\xFF\xFF\xFF");
  EXPECT_TRUE(contains(message_of(bytes), "2147483647 x 2147483647 pixels"));
  bytes.replace(16, 4, std::string(4, '\0'));
  EXPECT_TRUE(contains(message_of(bytes), "0 x 2147483647 pixels"));
}

/// A progressive JPEG of 8 x 8 pixels whose one coefficient scan is repeated.
std::string jpeg_with_scans(int scans) {
  std::string bytes("\xFF\xD8\xFF\xDB\x00\x43\x00", 7);
  bytes += std::string(64, '\x01');
  bytes += std::string("\xFF\xC2\x00\x0B\x08\x00\x08\x00\x08\x01\x01\x11\x00", 13);
  bytes += std::string("\xFF\xC4\x00\x14\x00\x01", 6) + std::string(15, '\0') + '\0';
  for (int i = 0; i < scans; ++i) {
    // The first scan brings the upper bit of the average, the others claim to refine it.
    bytes += std::string("\xFF\xDA\x00\x08\x01\x01\x00\x00\x00", 9) + (i == 0 ? '\x01' : '\x10') + '\x7F';
  }
  return bytes + "\xFF\xD9";
}

TEST(DecodeImage, RefusesAJpegOfEndlessScans) {
  set_log_sink([](LogLevel, std::string_view) {});
  EXPECT_EQ(message_of(jpeg_with_scans(2)), "(decoded)");
  EXPECT_TRUE(contains(message_of(jpeg_with_scans(1000)), "more than 100 scans"));
  set_log_sink({});
}

TEST(DecodeImage, WarnsOnceOfSlightDamage) {
  std::string bytes = encode_jpeg(photo(64, 64));
  bytes.erase(bytes.size() - 40, 30);  // the last blocks, but not the end marker
  std::vector<std::string> warnings;
  set_log_sink([&](LogLevel, std::string_view line) { warnings.emplace_back(line); });
  decode_image(bytes, "folder/holed.jpg");
  decode_image(bytes, "folder/holed.jpg");
  set_log_sink({});
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_TRUE(contains(warnings[0], "folder/holed.jpg is slightly damaged")) << warnings[0];
}

TEST(ReadImage, ReadsTheEmbeddedDemo) {
  const Image image = read_image("examples/demo-subject/00.png");
  EXPECT_GT(image.width, 0);
  EXPECT_THROW(read_image("examples/no-such.png"), FileError);
  EXPECT_THROW(read_image("examples"), FileError);
}

class WriteImage : public ::testing::Test {
 protected:
  WriteImage() { fs::create_directories(folder_); }
  ~WriteImage() override { fs::remove_all(folder_); }
  fs::path folder_ = fs::temp_directory_path() / ("lorikeet_image_test_" + std::to_string(::getpid()));
};

TEST_F(WriteImage, ChoosesTheFormatByExtension) {
  const Image image = photo(9, 7);
  for (const auto& [extension, magic] : {std::pair{".png", "\x89PNG"}, {".JPG", "\xFF\xD8"}, {".webp", "RIFF"}}) {
    const fs::path path = folder_ / (std::string("a") + extension);
    write_image(path, image);
    std::string start(2, '\0');
    std::ifstream(path, std::ios::binary).read(start.data(), 2);
    EXPECT_EQ(start, std::string(magic).substr(0, 2)) << extension;
  }
}

TEST_F(WriteImage, RefusesWhatItCannotWrite) {
  EXPECT_THROW(write_image(folder_ / "a.gif", photo(9, 7)), UsageError);
  EXPECT_THROW(write_image(folder_ / "a.png", Image{3, 3, {1, 2, 3}}), UsageError);
  EXPECT_THROW(write_image(folder_ / "a.png", Image{}), UsageError);
  EXPECT_THROW(write_image(folder_ / "no" / "folder.png", photo(9, 7)), FileError);
  EXPECT_THROW(encode_webp(photo(16384, 1)), UsageError);
  EXPECT_THROW(encode_jpeg(photo(65536, 1)), UsageError);
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST(CropImage, TakesThePart) {
  const Image image{3, 2, {0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5}};
  const Image part = crop_image(image, 1, 0, 2, 2);
  EXPECT_EQ(part.width, 2);
  EXPECT_EQ(part.height, 2);
  EXPECT_EQ(part.pixels, (std::vector<uint8_t>{1, 1, 1, 2, 2, 2, 4, 4, 4, 5, 5, 5}));
}

TEST(CropImage, RefusesPartsOutside) {
  const Image image = photo(5, 4);
  EXPECT_THROW(crop_image(image, -1, 0, 2, 2), UsageError);
  EXPECT_THROW(crop_image(image, 4, 0, 2, 2), UsageError);
  EXPECT_THROW(crop_image(image, 0, 3, 2, 2), UsageError);
  EXPECT_THROW(crop_image(image, 0, 0, 0, 2), UsageError);
  EXPECT_THROW(crop_image(image, 1, 0, 2147483647, 2), UsageError);
}

Image plain(int width, int height, uint8_t level) {
  return {width, height, std::vector<uint8_t>(static_cast<size_t>(width) * height * 3, level)};
}

TEST(ImageGrid, FillsTheLastRow) {
  const Image grid = image_grid({plain(2, 1, 10), plain(2, 1, 20), plain(2, 1, 30)}, 2);
  EXPECT_EQ(grid.width, 4);
  EXPECT_EQ(grid.height, 2);
  std::vector<uint8_t> first_channel;
  for (size_t i = 0; i < grid.pixels.size(); i += 3) first_channel.push_back(grid.pixels[i]);
  EXPECT_EQ(first_channel, (std::vector<uint8_t>{10, 10, 20, 20, 30, 30, 255, 255}));
  EXPECT_EQ(image_grid({plain(2, 1, 10), plain(2, 1, 20), plain(2, 1, 30)}, 2, 0).pixels.back(), 0);
}

TEST(ImageGrid, IsNoWiderThanItsPictures) { EXPECT_EQ(image_grid({plain(2, 1, 10), plain(2, 1, 20)}, 8).width, 4); }

TEST(ImageGrid, RefusesUnequalPictures) {
  EXPECT_THROW(image_grid({plain(2, 1, 0), plain(1, 2, 0)}, 2), UsageError);
  EXPECT_THROW(image_grid({}, 2), UsageError);
  EXPECT_THROW(image_grid({plain(2, 1, 0)}, 0), UsageError);
}

}  // namespace
}  // namespace lorikeet
