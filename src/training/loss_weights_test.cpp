// Expected values: tests/data/loss_weights.json, by tools/reference/loss_weights.py.
#include "training/loss_weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "schedulers/noise_schedule.h"
#include "training/lora_average.h"

namespace lorikeet {
namespace {

const nlohmann::json& reference() {
  static const auto json = nlohmann::json::parse(read_file("tests/data/loss_weights.json"));
  return json;
}

torch::Tensor tensor_of(const nlohmann::json& json) {
  std::vector<double> values;
  for (const auto& value : json) values.push_back(value.is_null() ? std::nan("") : value.get<double>());
  return torch::tensor(values, torch::kDouble);
}

/// `absent` stands where the reference divides by zero.
void expect_close(const torch::Tensor& found, const nlohmann::json& json, double absent = 0) {
  ASSERT_EQ(found.scalar_type(), torch::kFloat);
  const auto expected = tensor_of(json).nan_to_num(absent);
  EXPECT_TRUE(torch::allclose(found.to(torch::kDouble), expected, 2e-6, 1e-9)) << found << "\n" << expected;
}

class LossWeightsTest : public ::testing::TestWithParam<int> {
 protected:
  LossWeightsTest() : expected_(reference().at("schedules").at(static_cast<size_t>(GetParam()))) {
    BetaOptions betas;
    betas.beta_start = 0.00085;
    betas.beta_end = 0.012;
    betas.beta_schedule = "scaled_linear";
    betas.rescale_betas_zero_snr = expected_.at("rescale_betas_zero_snr").get<bool>();
    alphas_ = NoiseSchedule(betas).alphas_cumprod;
    timesteps_ = torch::tensor(reference().at("timesteps").get<std::vector<int64_t>>());
  }
  torch::Tensor weights(bool velocity) const { return timestep_weights(options_, alphas_, timesteps_, velocity); }
  torch::Tensor thresholds(const std::string& schedule) {
    options_.loss_type = "huber";
    options_.huber_schedule = schedule;
    options_.huber_c = reference().at("huber_c").get<double>();
    return huber_thresholds(options_, alphas_, timesteps_);
  }

  const nlohmann::json& expected_;
  torch::Tensor alphas_, timesteps_;
  TrainOptions options_;
};
INSTANTIATE_TEST_SUITE_P(Schedules, LossWeightsTest, ::testing::Values(0, 1));

TEST_P(LossWeightsTest, SnrIsDiffusersToTheLastDigit) {
  const auto snr = compute_snr(alphas_, timesteps_);
  const auto expected = tensor_of(expected_.at("snr")).to(torch::kFloat);  // nine digits tell floats apart
  EXPECT_TRUE(torch::equal(snr, expected)) << snr << expected;
}

TEST_P(LossWeightsTest, AllWeighAlikeUnlessAsked) {
  EXPECT_FALSE(weights(false).defined());
  EXPECT_FALSE(weights(true).defined());
  EXPECT_FALSE(huber_thresholds(options_, alphas_, timesteps_).defined());
}

TEST_P(LossWeightsTest, MinSnr) {
  options_.snr_gamma = reference().at("snr_gamma").get<double>();
  expect_close(weights(false), expected_.at("min_snr_epsilon"), 1);
  expect_close(weights(true), expected_.at("min_snr_velocity"));
}

TEST_P(LossWeightsTest, CompatBugsDividesZeroByZeroAsTheScriptsDo) {
  options_.snr_gamma = reference().at("snr_gamma").get<double>();
  options_.compat_bugs = true;
  const auto zero = tensor_of(expected_.at("min_snr_epsilon")).isnan();
  EXPECT_TRUE(torch::equal(weights(false).isnan(), zero));
  EXPECT_FALSE(weights(true).isnan().any().item<bool>());
}

TEST_P(LossWeightsTest, DebiasedEstimation) {
  options_.debiased_estimation_loss = true;
  // Pure noise says nothing of the picture: without a bound its weight would be infinite, so it has none.
  expect_close(weights(false), expected_.at("debiased_epsilon"), 0);
  expect_close(weights(true), expected_.at("debiased_velocity"));
}

TEST_P(LossWeightsTest, HuberThresholds) {
  for (const char* schedule : {"constant", "exponential", "snr"}) {
    SCOPED_TRACE(schedule);
    expect_close(thresholds(schedule), expected_.at(std::string("huber_") + schedule));
  }
}

TEST(ElementwiseLoss, IsThatOfEachRowsThreshold) {
  const auto& expected = reference().at("losses");
  const auto errors = tensor_of(expected.at("errors")).reshape({2, 1, 2, 2});
  const auto thresholds = tensor_of(expected.at("thresholds")).to(torch::kFloat);
  const auto target = torch::full({2, 1, 2, 2}, 0.25);
  const auto prediction = (errors + 0.25).to(torch::kFloat);
  for (const char* type : {"l2", "smooth_l1", "huber"}) {
    TrainOptions options;
    options.loss_type = type;
    const auto loss = elementwise_loss(options, prediction, target, thresholds);
    ASSERT_EQ(loss.sizes(), errors.sizes());
    const auto wanted = tensor_of(expected.at(type)).reshape(errors.sizes());
    EXPECT_TRUE(torch::allclose(loss.to(torch::kDouble), wanted, 2e-6, 1e-7)) << type << "\n" << loss << wanted;
  }
}

TEST(ElementwiseLoss, IsMeasuredInFloat32) {
  TrainOptions options;
  const auto half = torch::full({1, 1, 1, 1}, 300.0, torch::kHalf);
  EXPECT_EQ(elementwise_loss(options, half, torch::zeros_like(half), {}).item<float>(), 90000) << "beyond half's range";
}

torch::Tensor parameter_at(int64_t step) {
  return ((torch::arange(6) * 37 + step * 29) % 101 - 50).to(torch::kFloat) / 500;
}

TEST(LoraAverage, FollowsEmaModelBitForBit) {
  for (const auto& expected : reference().at("averages")) {
    const auto value = parameter_at(0).set_requires_grad(true);
    LoraAverage average({{"x", value}}, expected.at("decay").get<double>());
    EXPECT_TRUE(torch::equal(average.values().at(0), value)) << "it starts at the parameters";
    int64_t step = 0;
    for (const auto& row : expected.at("values")) {
      value.detach().copy_(parameter_at(++step));
      average.update();
      EXPECT_TRUE(torch::equal(average.values().at(0), tensor_of(row).to(torch::kFloat))) << step;
      EXPECT_EQ(average.steps(), step);
    }
    EXPECT_TRUE(torch::equal(value, parameter_at(step))) << "the parameters themselves are left alone";
  }
}

TEST(LoraAverage, GoesOnAfterRestore) {
  const auto value = parameter_at(0), later = parameter_at(0);
  LoraAverage one({{"x", value}}, 0.9), other({{"x", later}}, 0.9);
  for (int64_t step = 1; step < 9; ++step) {
    value.copy_(parameter_at(step));
    one.update();
    if (step == 4) other.restore(one.steps(), one.values());
    later.copy_(value);
    if (step > 4) other.update();
  }
  EXPECT_TRUE(torch::equal(one.values()[0], other.values()[0]));
  EXPECT_FALSE(torch::equal(one.values()[0], value));
}

}  // namespace
}  // namespace lorikeet
