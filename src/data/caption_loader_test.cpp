#include "data/caption_loader.h"

#include <gtest/gtest.h>

#include <set>

#include "core/errors.h"
#include "data/data_test_support.h"
#include "engine/random.h"

namespace lorikeet {
namespace {

const PictureTransform kSide64{64, Interpolation::kLanczos};

class CaptionLoaderTest : public ::testing::Test {
 protected:
  /// Pictures of 80 x 64, with one caption each.
  void add(int count, int64_t repeats = 1) {
    for (int i = 0; i < count; ++i) {
      const auto name = std::to_string(100 + records_.size()) + ".png";
      write_image(folder_ / name, noise(80, 64));
      PictureRecord record;
      record.name = name;
      record.file = folder_ / name;
      record.captions = {"caption " + name};
      record.repeats = repeats;
      records_.push_back(record);
    }
  }
  PictureSets sets() const {
    PictureSets sets;
    sets.push_back(std::make_unique<PictureSet>(records_, kSide64));
    return sets;
  }
  static std::vector<PictureBatch> epoch(CaptionLoader& loader) {
    std::vector<PictureBatch> batches;
    loader.start_epoch();
    while (auto batch = loader.next()) batches.push_back(*batch);
    return batches;
  }

  TemporaryFolder folder_;
  std::vector<PictureRecord> records_;
  PythonRandom random_{7};
};

TEST_F(CaptionLoaderTest, DrawsCropsAndFlipsPictureByPicture) {
  add(3);
  auto sets = this->sets();
  auto generator = make_generator(1), witness = make_generator(1);
  CaptionLoader loader(sets, {2, false, true, false, {}}, generator, random_);
  const auto batches = epoch(loader);
  draw_seed(witness);
  auto sampler = make_generator(static_cast<uint64_t>(draw_seed(witness)));
  const auto order = draw_permutation(3, sampler);
  int64_t at = 0;
  for (const auto& batch : batches) {
    for (const auto& picture : batch) {
      EXPECT_EQ(picture.index, order[static_cast<size_t>(at++)]);
      EXPECT_EQ(picture.crop.top, draw_integer(0, 1, witness));
      EXPECT_EQ(picture.crop.left, draw_integer(0, 17, witness));
      EXPECT_EQ(picture.flip, torch::rand({1}, witness).item<float>() < 0.5f);
      EXPECT_EQ(picture.caption, "caption " + records_[static_cast<size_t>(picture.index)].name);
    }
  }
  EXPECT_EQ(at, 3);
}

TEST_F(CaptionLoaderTest, CountsRepeatsAndPassesOverHeldOutPictures) {
  add(2, 3);
  add(1);
  add(1, 0);
  auto sets = this->sets();
  sets[0]->hold_out(2);
  auto generator = make_generator(1);
  CaptionLoader loader(sets, {4, true, false, false, {}}, generator, random_);
  EXPECT_EQ(loader.examples(), 6);
  std::multiset<int64_t> seen;
  for (const auto& batch : epoch(loader)) {
    for (const auto& picture : batch) seen.insert(picture.index);
  }
  EXPECT_EQ(seen, (std::multiset<int64_t>{0, 0, 0, 1, 1, 1}));
}

TEST_F(CaptionLoaderTest, ChoosesOneOfSeveralCaptionsWithPythonsRandom) {
  add(2);
  records_[0].captions = {"a", "b", "c"};
  auto sets = this->sets();
  auto generator = make_generator(1);
  CaptionLoader loader(sets, {1, true, false, false, {}}, generator, random_);
  PythonRandom witness{7};
  for (const auto& batch : epoch(loader)) {
    const auto& captions = records_[static_cast<size_t>(batch[0].index)].captions;
    // Lists of one draw as well: the column is one of lists.
    EXPECT_EQ(batch[0].caption, captions[static_cast<size_t>(witness.below(static_cast<int64_t>(captions.size())))]);
  }
}

TEST_F(CaptionLoaderTest, FillsBatchesFromOneBucket) {
  add(7);
  auto sets = this->sets();
  std::vector<PictureSet::Fit> fits;
  for (int64_t i = 0; i < 7; ++i) {
    const PictureExtent extent = i % 2 == 0 ? PictureExtent{64, 80} : PictureExtent{56, 72};
    fits.push_back({extent, extent});
  }
  sets[0]->set_fits(fits);
  auto generator = make_generator(1);
  CaptionLoader loader(sets, {3, false, false, true, {}}, generator, random_);
  EXPECT_EQ(loader.batches_per_epoch(), 3);  // 4 and 3 pictures
  const auto batches = epoch(loader);
  ASSERT_EQ(batches.size(), 3u);
  std::set<int64_t> seen;
  for (const auto& batch : batches) {
    for (const auto& picture : batch) {
      EXPECT_EQ(picture.index % 2, batch.front().index % 2);
      seen.insert(picture.index);
    }
  }
  EXPECT_EQ(seen.size(), 7u);
}

TEST_F(CaptionLoaderTest, ListsAllInputsWhereTheyAreKnown) {
  add(2);
  auto sets = this->sets();
  auto generator = make_generator(1);
  const auto inputs = [&](CaptionLoader::Options options) {
    CaptionLoader loader(sets, options, generator, random_);
    return std::pair{loader.all_cuts().size(), loader.all_texts().size()};
  };
  EXPECT_EQ(inputs({1, true, false, false, {}}), (std::pair<size_t, size_t>{2, 2}));
  EXPECT_EQ(inputs({1, true, true, false, {}}), (std::pair<size_t, size_t>{4, 2}));
  EXPECT_EQ(inputs({1, false, true, false, {}}), (std::pair<size_t, size_t>{0, 2}));
  CaptionOptions captions;
  captions.dropout_rate = 0.5;
  EXPECT_EQ(inputs({1, true, false, false, captions}).second, 4u);
  captions.shuffle = true;
  EXPECT_EQ(inputs({1, true, false, false, captions}).second, 0u);
}

TEST_F(CaptionLoaderTest, GoesOnFromItsState) {
  add(5);
  for (int taken = 0; taken <= 3; ++taken) {
    auto sets = this->sets(), again = this->sets();
    auto generator = make_generator(1);
    PythonRandom random{3};
    CaptionLoader loader(sets, {2, false, true, false, {}}, generator, random);
    loader.start_epoch();
    for (int i = 0; i < taken; ++i) loader.next();
    const auto state = loader.state();
    const auto drawn = generator_state(generator).clone();
    std::vector<PictureBatch> rest;
    while (auto batch = loader.next()) rest.push_back(*batch);
    auto other = make_generator(9);
    set_generator_state(other, drawn);
    CaptionLoader resumed(again, {2, false, true, false, {}}, other, random);
    resumed.restore(state);
    for (const auto& batch : rest) EXPECT_EQ(resumed.next(), batch);
    EXPECT_FALSE(resumed.next().has_value());
    auto bad = state;
    if (!bad.pending) continue;
    bad.pending->front().index = 5;
    EXPECT_THROW(resumed.restore(bad), FormatError);
  }
}

TEST(DrawCaption, GoesThroughChoiceDropAndShuffle) {
  PythonRandom random{5};
  CaptionOptions options;
  EXPECT_EQ(draw_caption({"a, b"}, false, options, random), "a, b");
  options.prefix = "sks";
  EXPECT_EQ(draw_caption({"a, b"}, false, options, random), "sks a, b");
  EXPECT_EQ(random.state(), PythonRandom{5}.state()) << "nothing is drawn for what is off";
  options.shuffle = true;
  options.keep_tokens = 1;
  std::set<std::string> seen;
  for (int i = 0; i < 50; ++i) seen.insert(draw_caption({"one,  two,three , ,four"}, false, options, random));
  EXPECT_EQ(seen.size(), 6u);
  for (const auto& text : seen) EXPECT_TRUE(text.starts_with("sks one, ")) << text;
  options.dropout_rate = 0.25;
  int dropped = 0;
  for (int i = 0; i < 1000; ++i) dropped += draw_caption({"a"}, false, options, random).empty();
  EXPECT_NEAR(dropped, 250, 50);
}

}  // namespace
}  // namespace lorikeet
