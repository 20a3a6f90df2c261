// The numbers here are what kohya-ss/sd-scripts 48d368fa gives: its BucketManager (library/train_util.py), made for a
// resolution of 512, sides from 256 to 1024 and steps of 64, asked with select_bucket.
#include "data/buckets.h"

#include <gtest/gtest.h>

#include "core/errors.h"

namespace lorikeet {
namespace {

struct Traced {
  bool no_upscale;
  PictureSize picture;
  BucketFit fit;
};

const Traced kTraced[] = {
    {false, {512, 512}, {{512, 512}, {512, 512}}},   {false, {640, 480}, {{576, 448}, {597, 448}}},
    {false, {480, 640}, {{448, 576}, {448, 597}}},   {false, {4000, 3000}, {{576, 448}, {597, 448}}},
    {false, {1920, 1080}, {{640, 384}, {683, 384}}}, {false, {100, 2000}, {{256, 1024}, {256, 5120}}},
    {false, {576, 448}, {{576, 448}, {576, 448}}},   {false, {512, 448}, {{512, 512}, {585, 512}}},
    {false, {300, 200}, {{640, 384}, {640, 427}}},   {false, {700, 390}, {{640, 384}, {689, 384}}},
    {false, {1023, 1025}, {{512, 512}, {512, 513}}}, {false, {63, 64}, {{512, 512}, {512, 520}}},
    {false, {64, 64}, {{512, 512}, {512, 512}}},     {false, {262144, 1}, {{1024, 256}, {67108864, 256}}},
    {true, {512, 512}, {{512, 512}, {512, 512}}},    {true, {640, 480}, {{512, 384}, {512, 384}}},
    {true, {480, 640}, {{384, 512}, {384, 512}}},    {true, {4000, 3000}, {{512, 384}, {512, 384}}},
    {true, {1920, 1080}, {{640, 384}, {683, 384}}},  {true, {100, 2000}, {{64, 1984}, {100, 2000}}},
    {true, {576, 448}, {{576, 448}, {576, 448}}},    {true, {512, 448}, {{512, 448}, {512, 448}}},
    {true, {300, 200}, {{256, 192}, {300, 200}}},    {true, {700, 390}, {{512, 320}, {574, 320}}},
    {true, {1023, 1025}, {{512, 512}, {512, 513}}},  {true, {64, 64}, {{64, 64}, {64, 64}}},
};

std::string text(PictureSize size) { return std::to_string(size.width) + " x " + std::to_string(size.height); }

BucketFit fit_of(PictureSize picture, const BucketOptions& options) {
  return fit_bucket(options.no_upscale ? std::vector<PictureSize>{} : make_buckets(options), picture, options);
}

TEST(Buckets, AreKohyas) {
  const std::vector<PictureSize> expected{{256, 832}, {256, 896}, {256, 960}, {256, 1024}, {320, 704}, {320, 768},
                                          {384, 640}, {448, 576}, {512, 512}, {576, 448},  {640, 384}, {704, 320},
                                          {768, 320}, {832, 256}, {896, 256}, {960, 256},  {1024, 256}};
  EXPECT_EQ(make_buckets({}), expected);
  const std::vector<PictureSize> fine{{24, 128}, {32, 128}, {40, 112}, {40, 120}, {40, 128}, {48, 96}, {48, 104},
                                      {56, 88},  {64, 80},  {72, 72},  {80, 64},  {88, 56},  {96, 48}, {104, 48},
                                      {112, 40}, {120, 40}, {128, 24}, {128, 32}, {128, 40}};
  EXPECT_EQ(make_buckets({72, 24, 128, 8}), fine);
  EXPECT_EQ(make_buckets({1000, 256, 2048, 32}).size(), 81u);
}

TEST(Buckets, AreChosenAsByKohya) {
  BucketOptions options;
  for (const auto& [no_upscale, picture, expected] : kTraced) {
    options.no_upscale = no_upscale;
    const BucketFit fit = fit_of(picture, options);
    EXPECT_EQ(fit.bucket, expected.bucket) << text(picture) << (no_upscale ? " not enlarged" : "");
    EXPECT_EQ(fit.scaled, expected.scaled) << text(picture) << (no_upscale ? " not enlarged" : "");
  }
}

/// One number that says whether 7,920 pictures go where kohya's scripts put them.
TEST(Buckets, AreChosenAsByKohyaForThousandsOfSizes) {
  BucketOptions options;
  const auto buckets = make_buckets(options);
  uint64_t sum = 0;
  const auto add = [&](int64_t value) {
    sum = static_cast<uint64_t>(((unsigned __int128){sum} * 1000003 + static_cast<uint64_t>(value)) %
                                ((uint64_t{1} << 61) - 1));
  };
  for (const bool no_upscale : {false, true}) {
    options.no_upscale = no_upscale;
    for (int64_t width = 65; width < 2500; width += 37) {
      for (int64_t height = 65; height < 2500; height += 41) {
        const BucketFit fit = fit_bucket(buckets, {width, height}, options);
        for (const int64_t value : {fit.bucket.width, fit.bucket.height, fit.scaled.width, fit.scaled.height})
          add(value);
      }
    }
    EXPECT_EQ(sum, no_upscale ? 756848791577287527u : 560838402388957750u);
  }
}

TEST(Buckets, AreAlwaysCoveredByTheScaledPicture) {
  for (const bool no_upscale : {false, true}) {
    BucketOptions options;
    options.no_upscale = no_upscale;
    const auto buckets = make_buckets(options);
    for (const int64_t width : {1, 2, 63, 64, 65, 100, 511, 512, 513, 3000, 16384}) {
      for (const int64_t height : {1, 2, 63, 64, 65, 100, 511, 512, 513, 3000, 16384}) {
        const BucketFit fit = fit_bucket(buckets, {width, height}, options);
        EXPECT_GE(fit.scaled.width, fit.bucket.width) << width << " x " << height;
        EXPECT_GE(fit.scaled.height, fit.bucket.height) << width << " x " << height;
        EXPECT_EQ(fit.bucket.width % 64 + fit.bucket.height % 64, 0) << width << " x " << height;
        EXPECT_GT(fit.bucket.width * fit.bucket.height, 0);
        EXPECT_LE(fit.bucket.width * fit.bucket.height, 512 * 512) << width << " x " << height;
        if (no_upscale && width >= 64 && height >= 64) {
          EXPECT_LE(fit.scaled.width, width);
          EXPECT_LE(fit.scaled.height, height);
        }
      }
    }
  }
}

void refuse(const BucketOptions& options, const std::string& flag) {
  try {
    make_buckets(options);
    ADD_FAILURE() << "accepted, expected " << flag;
  } catch (const UsageError& error) {
    EXPECT_TRUE(std::string(error.what()).starts_with(flag)) << error.what();
    EXPECT_FALSE(error.hint().empty());
  }
}

TEST(Buckets, RefuseUselessOptions) {
  refuse({512, 256, 1024, 0}, "--bucket_reso_steps=0");
  refuse({512, 256, 1024, -64}, "--bucket_reso_steps=-64");
  refuse({512, 256, 1024, 12}, "--bucket_reso_steps=12");
  refuse({32, 256, 1024, 64}, "--resolution=32");
  refuse({1 << 20, 256, 1 << 21, 64}, "--resolution=1048576");
  refuse({512, 0, 1024, 64}, "--min_bucket_reso=0");
  refuse({512, 300, 1024, 64}, "--min_bucket_reso=300");
  refuse({512, 576, 1024, 64}, "--min_bucket_reso=576");
  refuse({512, 256, 448, 64}, "--max_bucket_reso=448");
  refuse({512, 256, 1000, 64}, "--max_bucket_reso=1000");
  EXPECT_NO_THROW(check_buckets({512, 300, 400, 64, true})) << "sides are not looked at without enlarging";
}

}  // namespace
}  // namespace lorikeet
