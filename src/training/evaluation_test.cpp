#include "training/evaluation.h"

#include <gtest/gtest.h>

#include "training/optimizer_test_support.h"
#include "training/training_test_support.h"

namespace lorikeet {
namespace {

std::vector<torch::Tensor> bits_of(const std::vector<TrainedParameter>& parameters) {
  std::vector<torch::Tensor> bits;
  for (const auto& parameter : parameters) bits.push_back(parameter.value.detach().clone());
  return bits;
}

class UsableWeightsTest : public ::testing::TestWithParam<std::string> {
 protected:
  UsableWeightsTest() : parameters_(small_problem()) {
    OptimizerOptions options;
    options.name = GetParam();
    optimizer_ = make_optimizer(options, parameters_);
    average_.emplace(parameters_, 0.9);
    train(0, 12);
  }
  void train(int64_t from, int64_t to) {
    for (int64_t step = from; step < to; ++step) {
      set_small_gradients(parameters_, step);
      optimizer_->step(0.01);
      average_->update();
    }
  }
  void expect_values(const std::vector<torch::Tensor>& expected) const {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      EXPECT_TRUE(torch::equal(parameters_[i].value, expected[i])) << parameters_[i].name;
    }
  }

  std::vector<TrainedParameter> parameters_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<LoraAverage> average_;
};
INSTANTIATE_TEST_SUITE_P(Optimizers, UsableWeightsTest, ::testing::ValuesIn(optimizer_names()));

TEST_P(UsableWeightsTest, AreTheAverageAndThenTheRunsOwnBitForBit) {
  const auto before = bits_of(parameters_);
  {
    const UsableWeights usable(parameters_, *optimizer_, &*average_);
    expect_values(average_->values());
    EXPECT_FALSE(torch::equal(parameters_[0].value, before[0]));
    EXPECT_TRUE(parameters_[0].value.requires_grad());
  }
  expect_values(before);
}

TEST_P(UsableWeightsTest, AreTheOptimizersOwnWithoutAnAverage) {
  const auto before = bits_of(parameters_);
  {
    const UsableWeights usable(parameters_, *optimizer_, nullptr);
    EXPECT_EQ(torch::equal(parameters_[0].value, before[0]), GetParam() != "schedulefree");
  }
  expect_values(before);
}

TEST_P(UsableWeightsTest, ChangeNoStepThatFollows) {
  const auto other = small_problem();
  OptimizerOptions options;
  options.name = GetParam();
  const auto plain = make_optimizer(options, other);
  for (int64_t step = 0; step < 20; ++step) {
    set_small_gradients(other, step);
    plain->step(0.01);
  }
  for (int64_t step = 12; step < 20; ++step) {
    { const UsableWeights usable(parameters_, *optimizer_, step % 2 == 0 ? &*average_ : nullptr); }
    train(step, step + 1);
  }
  expect_values(bits_of(other));
}

TEST_P(UsableWeightsTest, ComeBackAfterAnError) {
  const auto before = bits_of(parameters_);
  try {
    const UsableWeights usable(parameters_, *optimizer_, &*average_);
    throw std::runtime_error("no picture");
  } catch (const std::runtime_error&) {
  }
  expect_values(before);
}

TEST(EvaluationMode, HasNeitherDropoutNorGradients) {
  TrainOptions options;
  options.lora_dropout = 0.5;
  options.train_text_encoder = true;
  SmallRun run(options);
  set_training(run.models, true);
  const auto& unet = *run.models.unet_lora[0].second;
  const auto& text = *run.models.text_lora[0].second;
  {
    const EvaluationMode evaluation(run.models);
    EXPECT_FALSE(unet.training || text.training || run.models.parts.unet->is_training());
    EXPECT_FALSE(torch::GradMode::is_enabled());
  }
  EXPECT_TRUE(unet.training && text.training && run.models.parts.unet->is_training());
  EXPECT_TRUE(torch::GradMode::is_enabled());
}

}  // namespace
}  // namespace lorikeet
