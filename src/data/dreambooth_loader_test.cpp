#include "data/dreambooth_loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "data/data_test_support.h"
#include "engine/random.h"

namespace lorikeet {
namespace {

using Sizes = std::vector<std::pair<int, int>>;  // width, height

const PictureTransform kSide64{64, Interpolation::kLanczos};

/// A folder of pictures of these sizes, in this order.
class Pictures {
 public:
  explicit Pictures(const Sizes& sizes) {
    for (const auto& [width, height] : sizes) {
      write_image(folder_ / (std::to_string(100 + count_++) + ".png"), noise(width, height));
    }
  }
  /// Another set of the same pictures each time.
  std::unique_ptr<PictureSet> set() const {
    std::vector<std::string> skipped;
    return std::make_unique<PictureSet>(list_pictures(folder_.path(), skipped), kSide64);
  }

 private:
  TemporaryFolder folder_;
  int count_ = 0;
};

/// A loader of instances and, perhaps, class pictures, with its sets.
struct Loading {
  Loading(const Pictures& instances, const Pictures* classes, int64_t batch_size, torch::Generator& generator,
          bool center_crop = false) {
    sets.push_back(instances.set());
    if (classes != nullptr) sets.push_back(classes->set());
    loader.emplace(sets, DreamboothLoader::Options{batch_size, center_crop, {"sks cat", "cat"}}, generator);
  }
  PictureSets sets;
  std::optional<DreamboothLoader> loader;
};

const Sizes kMixed = {{96, 80}, {64, 64}, {64, 100}, {128, 64}, {70, 71}};

PictureBatch batch_from_json(const nlohmann::json& cuts) {
  PictureBatch batch;
  for (const auto& cut : cuts) {
    const auto set = cut[0].get<int64_t>();
    batch.push_back({set, cut[1], {cut[2], cut[3]}, false, set == 0 ? "sks cat" : "cat"});
  }
  return batch;
}

// Expected values: tools/reference/loader_order.py, which asks accelerate's own loader.
TEST(DreamboothLoader, GivesTheBatchesAndCropsOfThePeer) {
  const auto reference = nlohmann::json::parse(read_file("tests/data/loader_order.json"));
  ASSERT_EQ(reference.at("cases").size(), 7u);
  for (const auto& item : reference.at("cases")) {
    SCOPED_TRACE(item.at("name").get<std::string>());
    Pictures instances(item.at("instances").get<Sizes>());
    std::optional<Pictures> classes;
    if (!item.at("classes").empty()) classes.emplace(item.at("classes").get<Sizes>());
    auto generator = make_generator(item.at("seed").get<uint64_t>());
    Loading loading(instances, classes ? &*classes : nullptr, item.at("batch"), generator, item.at("center"));
    auto& loader = *loading.loader;
    for (const auto& epoch : item.at("epochs")) {
      EXPECT_EQ(loader.batches_per_epoch(), static_cast<int64_t>(epoch.size()));
      loader.start_epoch();
      for (const auto& expected : epoch) {
        const auto batch = loader.next();
        ASSERT_TRUE(batch.has_value());
        EXPECT_EQ(*batch, batch_from_json(expected.at("cuts")));
        EXPECT_EQ(loader.is_last(), expected.at("last").get<bool>());
        // What a training step draws comes after the next batch's crops.
        EXPECT_EQ(draw_integer(0, 1 << 30, generator), expected.at("step").get<int64_t>());
      }
      EXPECT_FALSE(loader.next().has_value());
    }
  }
}

TEST(DreamboothLoader, CountsTheLongerFolder) {
  Pictures two({{64, 64}, {64, 64}}), five(kMixed);
  auto generator = make_generator(0);
  EXPECT_EQ(Loading(two, nullptr, 1, generator).loader->examples(), 2);
  EXPECT_EQ(Loading(two, &five, 1, generator).loader->examples(), 5);
  EXPECT_EQ(Loading(five, &two, 2, generator).loader->examples(), 5);
  EXPECT_EQ(Loading(five, &two, 2, generator).loader->batches_per_epoch(), 3);
}

/// All batches from here to the end of the next epoch.
std::vector<PictureBatch> rest(DreamboothLoader& loader) {
  std::vector<PictureBatch> batches;
  for (int epoch = 0; epoch < 2; ++epoch) {
    while (auto batch = loader.next()) batches.push_back(*batch);
    if (epoch == 0) loader.start_epoch();
  }
  return batches;
}

TEST(DreamboothLoader, GoesOnFromItsStateInTheMiddleOfAnEpoch) {
  Pictures instances(kMixed), classes({{64, 90}, {80, 64}});
  for (int taken = 0; taken <= 3; ++taken) {
    SCOPED_TRACE(taken);
    auto generator = make_generator(3);
    Loading loading(instances, &classes, 2, generator);
    auto& loader = *loading.loader;
    loader.start_epoch();
    for (int i = 0; i < taken; ++i) loader.next();
    const auto state = loader.state();
    const auto random = generator_state(generator).clone();
    const auto expected = rest(loader);
    ASSERT_EQ(expected.size(), static_cast<size_t>(6 - taken));

    auto other = make_generator(99);
    set_generator_state(other, random);
    Loading again(instances, &classes, 2, other);
    auto& resumed = *again.loader;
    resumed.restore(state);
    EXPECT_EQ(resumed.is_last(), taken == 3);
    EXPECT_EQ(rest(resumed), expected);
  }
}

TEST(DreamboothLoader, RefusesAStateThatDoesNotFit) {
  Pictures instances(kMixed), classes({{64, 90}, {80, 64}});
  auto generator = make_generator(3);
  Loading loading(instances, &classes, 2, generator);
  auto& loader = *loading.loader;
  loader.start_epoch();
  const auto good = loader.state();
  ASSERT_EQ(good.pending->size(), 4u);
  EXPECT_NO_THROW(loader.restore(good));

  const auto refused = [&](const std::function<void(DreamboothLoader::State&)>& change) {
    auto state = good;
    change(state);
    EXPECT_THROW(loader.restore(state), FormatError);
    const auto now = loader.state();
    EXPECT_EQ(now.order, good.order);
    EXPECT_EQ(now.position, good.position);
    EXPECT_EQ(now.pending, good.pending);
  };
  refused([](auto& s) { s.order.pop_back(); });
  refused([](auto& s) { s.order.push_back(0); });
  refused([](auto& s) { s.order[0] = 5; });
  refused([](auto& s) { s.order[0] = -1; });
  refused([](auto& s) { s.position = 6; });
  refused([](auto& s) { s.position = -1; });
  refused([](auto& s) { s.pending->clear(); });
  refused([](auto& s) { s.pending->pop_back(); });
  refused([](auto& s) { s.pending->insert(s.pending->end(), s.pending->begin(), s.pending->end()); });
  refused([](auto& s) { std::swap(s.pending->front(), s.pending->back()); });
  refused([](auto& s) { s.pending->front().index = 5; });
  refused([](auto& s) { s.pending->back().index = 2; });
  refused([](auto& s) { s.pending->front().index = -1; });
  refused([](auto& s) { s.pending->front().crop.top = 65; });
  refused([](auto& s) { s.pending->back().crop.left = -1; });
  refused([](auto& s) { s.pending->front().caption = "another"; });
  refused([](auto& s) { s.pending->front().set = 2; });
}

TEST(DreamboothLoader, RefusesClassPicturesWithoutAClassFolder) {
  Pictures instances(kMixed), classes(kMixed);
  auto generator = make_generator(3);
  Loading both(instances, &classes, 2, generator), one(instances, nullptr, 4, generator);
  both.loader->start_epoch();
  EXPECT_THROW(one.loader->restore(both.loader->state()), FormatError);
}

TEST(DreamboothLoader, PassesOverPicturesThatAreHeldOut) {
  const Pictures instances(kMixed);
  auto generator = make_generator(3);
  Loading loading(instances, nullptr, 1, generator);
  loading.sets[0]->hold_out(0);
  loading.sets[0]->hold_out(3);
  DreamboothLoader loader(loading.sets, {1, false, {"sks cat"}}, generator);
  ASSERT_EQ(loader.examples(), 3);
  loader.start_epoch();
  std::vector<int64_t> seen;
  while (const auto batch = loader.next()) seen.push_back(batch->front().index);
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(seen, (std::vector<int64_t>{1, 2, 4}));
}

}  // namespace
}  // namespace lorikeet
