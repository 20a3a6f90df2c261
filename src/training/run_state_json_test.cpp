#include "training/run_state_json.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/errors.h"
#include "data/data_test_support.h"

namespace lorikeet {
namespace {

using nlohmann::json;

template <class E, class Action>
void expect_refusal(const std::string& said, const std::string& hinted, Action action) {
  try {
    action();
    ADD_FAILURE() << "no error; expected one with: " << said;
  } catch (const E& error) {
    EXPECT_NE(std::string(error.what()).find(said), std::string::npos) << error.what();
    EXPECT_NE(error.hint().find(hinted), std::string::npos) << error.hint();
  }
}

/// Numbers as a file's are: what is not negative is unsigned.
TEST(AsCount, TakesWholeNumbersOnly) {
  EXPECT_EQ(as_count(json::parse("0"), "x"), 0);
  EXPECT_EQ(as_count(uint64_t(1) << 53, "x"), int64_t(1) << 53);
  const json wrong[] = {
      -1, 0.0, 1.5, 1e300, true, nullptr, "1", json::array({1}), json::object(), UINT64_MAX, (uint64_t(1) << 53) + 1};
  for (const auto& value : wrong) {
    expect_refusal<FormatError>("x is " + value.dump(), "another checkpoint", [&] { as_count(value, "x"); });
  }
  const json long_text = std::string(1000000, 'a');
  try {
    as_count(long_text, "x");
    ADD_FAILURE();
  } catch (const FormatError& error) {
    EXPECT_LT(std::string(error.what()).size(), 300u);
  }
}

TEST(LoaderState, ComesBackWhole) {
  Loader::State state;
  state.order = {2, 0, 1};
  state.position = 2;
  state.pending = PictureBatch{{0, 2, {3, 4}, true, "a \"caption\"\nof two lines"}, {1, 5, {0, 0}, false, ""}};
  for (int time = 0; time < 2; ++time) {
    const auto back = loader_from_json(json::parse(to_json(state).dump()));
    EXPECT_EQ(back.order, state.order);
    EXPECT_EQ(back.position, state.position);
    EXPECT_EQ(back.pending, state.pending);
    state.pending.reset();
  }
}

PictureSets sets_of(const std::filesystem::path& folder) {
  std::vector<std::string> skipped;
  auto records = list_pictures(folder, skipped);
  for (auto& record : records) record.captions = {"a caption"};
  PictureSets sets;
  sets.push_back(std::make_unique<PictureSet>(std::move(records), PictureTransform{64, Interpolation::kLanczos}));
  return sets;
}

class DatasetTest : public ::testing::Test {
 protected:
  DatasetTest() {
    write_image(folder_ / "a.png", noise(20, 20));
    write_image(folder_ / "b.png", noise(30, 20));
    before_ = now();
  }
  json now() const { return dataset_json(sets_of(folder_.path())); }
  static json of_captions(std::vector<std::string> captions, int64_t repeats = 1) {
    PictureRecord record;
    record.name = "x";
    record.file = "examples/demo-subject/00.png";
    record.captions = std::move(captions);
    record.repeats = repeats;
    PictureSets sets;
    sets.push_back(std::make_unique<PictureSet>(std::vector{record}, PictureTransform{}));
    return dataset_json(sets);
  }

  TemporaryFolder folder_;
  json before_;
};

TEST_F(DatasetTest, IsTheSameForTheSamePictures) {
  ASSERT_EQ(before_.size(), 2u);
  EXPECT_EQ(before_[0][0], "a.png");
  EXPECT_EQ(before_, now());
  EXPECT_NO_THROW(check_dataset(before_, now()));
}

TEST_F(DatasetTest, NamesTheFirstPictureThatDiffers) {
  auto other = noise(30, 20);
  other.pixels[100] ^= 1;
  write_image(folder_ / "b.png", other);
  expect_refusal<UsageError>("the picture b.png or its caption", "--output_dir",
                             [&] { check_dataset(before_, now()); });
  std::filesystem::rename(folder_ / "a.png", folder_ / "aa.png");
  expect_refusal<UsageError>("with the picture a.png where aa.png is now", "", [&] { check_dataset(before_, now()); });
}

TEST_F(DatasetTest, CountsPicturesThatCameOrWent) {
  write_image(folder_ / "c.png", noise(20, 20));
  expect_refusal<UsageError>("with 2 pictures, there are 3 now", "", [&] { check_dataset(before_, now()); });
  expect_refusal<UsageError>("with 0 pictures, there are 3 now", "", [&] { check_dataset(json::array(), now()); });
}

TEST_F(DatasetTest, TellsMasksApart) {
  write_image(folder_ / "a.mask.png", noise(20, 20));
  const auto masked = now();
  EXPECT_NE(masked[0], before_[0]);
  write_image(folder_ / "a.mask.png", noise(10, 20));
  EXPECT_NE(now()[0], masked[0]);
  EXPECT_EQ(now()[1], before_[1]);
}

TEST_F(DatasetTest, TellsCaptionsApart) {
  const auto one = of_captions({"a", "b"});
  EXPECT_EQ(one, of_captions({"a", "b"}));
  EXPECT_NE(one, of_captions({"b", "a"}));
  EXPECT_NE(one, of_captions({"a\n1 b"})) << "the bounds between captions count";
  EXPECT_NE(one, of_captions({"a", "b"}, 2));
}

TEST_F(DatasetTest, RefusesDamagedLists) {
  const json wrong[] = {nullptr, 3, "text", json::object({{"a", 1}})};
  for (const auto& value : wrong) EXPECT_THROW(check_dataset(value, before_), FormatError);
  // As restore_run, which makes a FormatError of it, sees them.
  for (const auto& value : {json(nullptr), json(3), json::array(), json::array({1, 2})}) {
    EXPECT_THROW(check_dataset(json::array({value, value}), before_), json::exception);
  }
}

TEST(CheckOptions, TellsTheFirstThatDiffers) {
  const json then = {{"learning_rate", 1e-4}, {"rank", 4}, {"output_dir", "a"}, {"snr_gamma", nullptr}};
  auto now = then;
  EXPECT_NO_THROW(check_options(then, now, {}));
  now["output_dir"] = "b";
  EXPECT_NO_THROW(check_options(then, now, {})) << "it changes no number";
  now["learning_rate"] = 1e-3;
  expect_refusal<UsageError>("--learning_rate=0.0001, now it is 0.001", "--override learning_rate",
                             [&] { check_options(then, now, {}); });
  EXPECT_NO_THROW(check_options(then, now, {"learning_rate"}));
  now["snr_gamma"] = 5.0;
  expect_refusal<UsageError>("--snr_gamma=null, now it is 5.0", "--override snr_gamma",
                             [&] { check_options(then, now, {"learning_rate"}); });
  now = then;
  now["rank"] = 8;
  expect_refusal<UsageError>("--rank=4, now it is 8", "start a new run", [&] { check_options(then, now, {}); });
}

TEST(CheckOptions, PassesOverOptionsThatTheOlderProgramDidNotHave) {
  EXPECT_NO_THROW(check_options({{"rank", 4}, {"gone", 1}}, {{"rank", 4}, {"added", 2}}, {}));
}

TEST(CheckOverrides, RefusesUnknownAndFixedOptions) {
  const json options = {{"learning_rate", 1e-4}, {"rank", 4}};
  EXPECT_NO_THROW(check_overrides({"learning_rate"}, options));
  EXPECT_NO_THROW(check_overrides({}, options));
  expect_refusal<UsageError>("no option --learningrate", "--help", [&] { check_overrides({"learningrate"}, options); });
  expect_refusal<UsageError>("another --rank", "start a new run", [&] {
    check_overrides({"learning_rate", "rank"}, options);
  });
}

}  // namespace
}  // namespace lorikeet
