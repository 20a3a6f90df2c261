#include "training/latent_memory.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/errors.h"
#include "pipelines/components.h"
#include "training/training_test_support.h"

namespace lorikeet {
namespace {

class LatentMemoryTest : public ::testing::Test {
 protected:
  LatentMemoryTest() : vae_(load_vae(kModel, std::nullopt, torch::kFloat)), sets_(open_sets()) {}

  LatentMemory memory(EncodeMemory kind = EncodeMemory::kMemory) {
    return {vae_, sets_, {kind, folder_.path(), "64 lanczos"}};
  }
  LatentDistribution encode(const PictureRef& picture) {
    torch::NoGradGuard no_grad;
    auto& set = *sets_[static_cast<size_t>(picture.set)];
    return vae_->encode(set.pixels(picture.index, picture.crop, picture.flip).unsqueeze(0).to(module_dtype(*vae_)));
  }
  /// What is asked for from here on cannot come from the VAE.
  void spoil_vae() {
    torch::NoGradGuard no_grad;
    for (auto& parameter : vae_->parameters()) parameter.zero_();
  }

  TemporaryFolder folder_;
  std::shared_ptr<AutoencoderKL> vae_;
  PictureSets sets_;
};

void expect_equal(const LatentMemory::Moments& ours, const LatentMemory::Moments& theirs) {
  EXPECT_TRUE(torch::equal(ours.mean, theirs.mean));
  EXPECT_TRUE(torch::equal(ours.std, theirs.std));
  EXPECT_EQ(ours.std.strides(), theirs.std.strides());
  EXPECT_EQ(ours.mean.scalar_type(), theirs.mean.scalar_type());
}

// Set 0, picture 0 is wider than high: it can be cut in several places.
const PictureBatch kBatch = {{0, 0, {0, 3}, false, "a"}, {1, 0, {}, false, "b"}, {0, 1, {}, true, "c"}};

TEST_F(LatentMemoryTest, ParsesItsNames) {
  EXPECT_EQ(parse_encode_memory("memory"), EncodeMemory::kMemory);
  EXPECT_EQ(parse_encode_memory("disk"), EncodeMemory::kDisk);
  EXPECT_EQ(parse_encode_memory("off"), EncodeMemory::kOff);
  EXPECT_THROW(parse_encode_memory("Disk"), UsageError);
}

TEST_F(LatentMemoryTest, GivesWhatTheVaeGivesForEachCutAlone) {
  auto latents = memory();
  // The same index and corner in both sets must not be taken for each other.
  const PictureBatch batch = {picture(0, 0), picture(0, 1), picture(1, 0), picture(1, 1)};
  for (int time = 0; time < 2; ++time) {
    const auto moments = latents.moments(batch);
    ASSERT_EQ(moments.mean.sizes(), (std::vector<int64_t>{4, 4, 16, 16}));
    for (int64_t row = 0; row < 4; ++row) {
      const auto expected = encode(batch[static_cast<size_t>(row)]);
      EXPECT_TRUE(torch::equal(moments.mean[row], expected.mean[0])) << row;
      EXPECT_TRUE(torch::equal(moments.std[row], expected.std[0])) << row;
    }
  }
}

TEST_F(LatentMemoryTest, TellsCutsAndMirrorImagesOfOnePictureApart) {
  for (const auto kind : {EncodeMemory::kMemory, EncodeMemory::kDisk}) {
    auto latents = memory(kind);
    std::vector<torch::Tensor> means;
    for (const auto& cut : {picture(0, 0), picture(0, 0, {0, 1}), picture(0, 0, {}, true)}) {
      means.push_back(latents.moments({cut}).mean);
      EXPECT_TRUE(torch::equal(means.back(), encode(cut).mean));
    }
    EXPECT_FALSE(torch::equal(means[0], means[1]));
    EXPECT_FALSE(torch::equal(means[0], means[2]));
  }
}

TEST_F(LatentMemoryTest, HasTheMemoryLayoutOfABatchEncodedAtOnce) {
  auto latents = memory();
  torch::NoGradGuard no_grad;
  const auto pixels = torch::stack({sets_[0]->pixels(0, {}), sets_[0]->pixels(1, {})});
  EXPECT_EQ(latents.moments({picture(0, 0), picture(0, 1)}).std.strides(), vae_->encode(pixels).std.strides());
  EXPECT_TRUE(latents.moments({picture(0, 0)}).std.is_contiguous());
}

TEST_F(LatentMemoryTest, GivesTheSameBitsFromMemoryFromDiskAndFromTheVae) {
  const auto expected = memory(EncodeMemory::kOff).moments(kBatch);
  auto in_memory = memory(), on_disk = memory(EncodeMemory::kDisk);
  for (int time = 0; time < 2; ++time) {
    expect_equal(in_memory.moments(kBatch), expected);
    expect_equal(on_disk.moments(kBatch), expected);
  }
  EXPECT_EQ(files_below(folder_.path()).size(), kBatch.size());
  auto reopened = memory(EncodeMemory::kDisk);
  spoil_vae();
  expect_equal(in_memory.moments(kBatch), expected);
  for (const auto& picture : kBatch) reopened.remember(picture);
  reopened.release_vae(kBatch[0], 1);
  for (size_t row = 0; row < kBatch.size(); ++row) {
    EXPECT_TRUE(torch::equal(reopened.moments({kBatch[row]}).mean[0], expected.mean[static_cast<int64_t>(row)]));
  }
}

TEST_F(LatentMemoryTest, AsksTheVaeEachTimeWhenOff) {
  auto latents = memory(EncodeMemory::kOff);
  const auto before = latents.moments(kBatch);
  EXPECT_FALSE(latents.remember(kBatch[0]));
  EXPECT_FALSE(latents.has_room_for(1, {64, 64}));
  spoil_vae();
  EXPECT_FALSE(torch::equal(latents.moments(kBatch).mean, before.mean));
}

TEST_F(LatentMemoryTest, MakesDamagedFilesAgain) {
  const auto expected = memory(EncodeMemory::kDisk).moments(kBatch);
  const auto files = files_below(folder_.path());
  for (const auto& path : files) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-5, std::ios::end);
    file.put('\x55');
  }
  expect_equal(memory(EncodeMemory::kDisk).moments(kBatch), expected);
  auto reopened = memory(EncodeMemory::kDisk);
  spoil_vae();
  EXPECT_TRUE(torch::equal(reopened.moments({kBatch[0]}).mean[0], expected.mean[0])) << "it was not saved anew";
}

TEST_F(LatentMemoryTest, AnswersOnlyWhatIsRememberedOnceTheVaeIsLetGo) {
  auto latents = memory();
  const auto expected = latents.moments(kBatch);
  for (const auto& picture : kBatch) EXPECT_TRUE(latents.remember(picture));
  latents.release_vae(kBatch[0], 3);
  EXPECT_EQ(vae_.use_count(), 1) << "it leaves memory";
  expect_equal(latents.moments(kBatch), expected);
  EXPECT_THROW(latents.moments({picture(1, 4)}), std::logic_error);
}

TEST_F(LatentMemoryTest, KnowsTheLayoutOfBatchesItHasNotSeenBeforeTheVaeIsLetGo) {
  const auto expected = memory().moments(kBatch);
  auto latents = memory();
  for (const auto& picture : kBatch) latents.remember(picture);
  latents.release_vae(kBatch[0], 3);
  expect_equal(latents.moments(kBatch), expected);
}

TEST_F(LatentMemoryTest, CountsWhatItKeepsAgainstItsBound) {
  auto latents = memory();
  constexpr int64_t bytes = 2 * 4 * 16 * 16 * 4;  // mean and deviation of 64 x 64 pixels
  constexpr int64_t room = (int64_t{1} << 30) / bytes;
  EXPECT_TRUE(latents.has_room_for(room, {64, 64}));
  EXPECT_FALSE(latents.has_room_for(room + 1, {64, 64}));
  EXPECT_TRUE(latents.has_room_for(room / 4, {128, 128}));
  EXPECT_FALSE(latents.has_room_for(INT64_MAX, {4096, 4096}));
  latents.moments(kBatch);
  latents.moments(kBatch);
  EXPECT_TRUE(latents.has_room_for(room - 3, {64, 64}));
  EXPECT_FALSE(latents.has_room_for(room - 2, {64, 64}));
}

/// A VAE in half precision whose first convolution goes beyond half's range for bright pictures; float32 has room.
class OverflowingVaeTest : public LatentMemoryTest {
 protected:
  OverflowingVaeTest() {
    vae_->to(torch::kHalf);
    torch::NoGradGuard no_grad;
    for (const auto& item : vae_->named_parameters()) {
      if (item.key() == "encoder.conv_in.weight") item.value().mul_(20000);
    }
    write_image(folder_ / "0.png", flat(128));  // the middle of the range: next to nothing to scale
    write_image(folder_ / "1.png", noise(16, 16));
    sets_.clear();
    sets_.push_back(open_set(folder_.path(), {16, Interpolation::kLanczos}));  // half is slow on the CPU
  }
  static Image flat(uint8_t level) { return {16, 16, std::vector<uint8_t>(size_t{3} * 16 * 16, level)}; }
  LatentMemory::Moments in_float32(int64_t index) {
    const auto precise = load_vae(kModel, std::nullopt, torch::kFloat);
    torch::NoGradGuard no_grad;
    for (const auto& item : precise->named_parameters()) item.value().copy_(vae_->named_parameters()[item.key()]);
    const auto moments = precise->encode(sets_[0]->pixels(index, {}).unsqueeze(0));
    return {moments.mean.to(torch::kHalf), moments.std.to(torch::kHalf)};
  }
  const PictureRef kDim = picture(0, 0), kLoud = picture(0, 1);
};

TEST_F(OverflowingVaeTest, OverflowsInHalfPrecisionAndNotInFloat32) {
  EXPECT_FALSE(encode(kLoud).mean.isfinite().all().item<bool>());
  EXPECT_TRUE(encode(kDim).mean.isfinite().all().item<bool>());
  EXPECT_TRUE(in_float32(1).mean.isfinite().all().item<bool>());
}

TEST_F(OverflowingVaeTest, EncodesInFloat32WithOneWarning) {
  const LogCatcher log;
  auto latents = memory(EncodeMemory::kOff);
  const auto expected = in_float32(1);
  for (int time = 0; time < 2; ++time) expect_equal(latents.moments({kLoud}), expected);
  ASSERT_EQ(log.lines().size(), 1u);
  EXPECT_NE(log.lines()[0].find("overflows in fp16"), std::string::npos);
}

// A run that is resumed, or that remembers nothing, meets pictures in another order.
TEST_F(OverflowingVaeTest, GivesEachPictureTheSameBitsWhicheverCameBefore) {
  const LogCatcher log;
  const auto dim = memory(EncodeMemory::kOff).moments({kDim});
  auto latents = memory(EncodeMemory::kOff);
  latents.moments({kLoud});
  expect_equal(latents.moments({kDim}), dim);
  expect_equal(latents.moments({kLoud}), in_float32(1));
}

}  // namespace
}  // namespace lorikeet
