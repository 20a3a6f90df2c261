#include "training/validation_loss.h"

#include <gtest/gtest.h>

#include <set>

#include "core/errors.h"
#include "training/evaluation.h"
#include "training/training_test_support.h"

namespace lorikeet {
namespace {

TEST(HeldOutPictures, AreAsManyAsAskedForAndLeaveOne) {
  const auto count = [](int64_t pictures, double share) { return held_out_pictures(pictures, share, 3).size(); };
  EXPECT_EQ(count(100, 0.1), 10u);
  EXPECT_EQ(count(25, 0.1), 3u) << "2.5 is rounded up";
  EXPECT_EQ(count(24, 0.1), 2u);
  EXPECT_EQ(count(2, 0.001), 1u) << "at least one";
  EXPECT_EQ(count(2, 0.999), 1u) << "at least one is left";
  EXPECT_EQ(count(10, 0.999), 9u);
}

TEST(HeldOutPictures, AreDifferentOnesInRisingOrderChosenByTheSeed) {
  const auto held = held_out_pictures(1000, 0.3, 5);
  EXPECT_TRUE(std::is_sorted(held.begin(), held.end()));
  EXPECT_EQ(std::set<int64_t>(held.begin(), held.end()).size(), 300u);
  EXPECT_GE(held.front(), 0);
  EXPECT_LT(held.back(), 1000);
  EXPECT_EQ(held, held_out_pictures(1000, 0.3, 5));
  EXPECT_NE(held, held_out_pictures(1000, 0.3, 6));
}

TEST(HeldOutPictures, NeedTwoToChooseFrom) {
  for (const int64_t count : {0, 1}) {
    try {
      held_out_pictures(count, 0.5, 0);
      ADD_FAILURE() << count;
    } catch (const UsageError& error) {
      EXPECT_NE(std::string(error.what()).find("--validation_split=0.5"), std::string::npos) << error.what();
      EXPECT_FALSE(error.hint().empty());
    }
  }
}

class CountingObserver : public TrainingObserver {
 public:
  void on_work(const std::string&, int64_t done, int64_t total) override { seen_.emplace_back(done, total); }
  std::vector<std::pair<int64_t, int64_t>> seen_;
};

class ValidationLossTest : public ::testing::Test {
 protected:
  double measure(StepLoss& loss) {
    const EvaluationMode evaluation(run_.models);
    return validation_.measure(loss, run_.models, run_.options, observer_);
  }

  SmallRun run_;
  CountingObserver observer_;
  const ValidationLoss validation_{{picture(0, 0, {0, 3}, false, "a lorikeet"), picture(1, 2, {}, false, "a cat")}};
};

TEST_F(ValidationLossTest, IsTheMeanOverPicturesAndTimestepsWithNoiseOfItsOwn) {
  auto loss = run_.loss();
  double expected = 0;
  {
    const EvaluationMode evaluation(run_.models);
    for (size_t i = 0; i < 2; ++i) {
      auto generator = make_generator(i);
      for (const int64_t timestep : {125, 375, 625, 875}) {
        const auto noise = draw_normal({1, 4, 16, 16}, generator, torch::kFloat);
        expected += loss.at(validation_.pictures()[i], noise, timestep) / 8;
      }
    }
  }
  EXPECT_DOUBLE_EQ(measure(loss), expected);
  EXPECT_EQ(observer_.seen_.size(), 8u);
  EXPECT_EQ(observer_.seen_.back(), (std::pair<int64_t, int64_t>{8, 8}));
}

TEST_F(ValidationLossTest, IsTheSameEachTimeAndLeavesTheRunsGeneratorsAlone) {
  auto loss = run_.loss();
  const auto cpu = generator_state(run_.generators.cpu).clone(),
             device = generator_state(run_.generators.device).clone();
  const double first = measure(loss);
  EXPECT_TRUE(torch::equal(generator_state(run_.generators.cpu), cpu));
  EXPECT_TRUE(torch::equal(generator_state(run_.generators.device), device));
  loss({picture(0, 1, {}, false, "a cat")});  // draws
  EXPECT_EQ(measure(loss), first);
  auto anew = run_.loss();
  EXPECT_EQ(measure(anew), first);
  torch::NoGradGuard no_grad;
  run_.models.unet_lora[0].second->values.factors.at("up").add_(0.1);
  EXPECT_NE(measure(loss), first);
}

TEST_F(ValidationLossTest, KeepsToTheRangeOfTimesteps) {
  run_.options.min_timestep = 900;
  run_.options.max_timestep = 904;
  auto loss = run_.loss();
  double expected = 0;
  {
    const EvaluationMode evaluation(run_.models);
    for (size_t i = 0; i < 2; ++i) {
      auto generator = make_generator(i);
      for (const int64_t timestep : {900, 901, 902, 903}) {
        const auto noise = draw_normal({1, 4, 16, 16}, generator, torch::kFloat);
        expected += loss.at(validation_.pictures()[i], noise, timestep) / 8;
      }
    }
  }
  EXPECT_DOUBLE_EQ(measure(loss), expected);
}

}  // namespace
}  // namespace lorikeet
