#include "engine/grad_scaler.h"

#include <gtest/gtest.h>

#include <limits>

namespace lorikeet {
namespace {

TEST(GradScaler, DividesFiniteGradientsAndGrowsAfterTheInterval) {
  GradScaler scaler(torch::kCPU, 1024.0, /*growth_interval=*/2);
  for (int step = 0; step < 2; ++step) {
    auto gradient = torch::full({3}, 2048.0f);
    EXPECT_TRUE(scaler.unscale({gradient}));
    EXPECT_TRUE(torch::equal(gradient, torch::full({3}, 2.0f)));
    EXPECT_EQ(scaler.scale(), 1024.0);
    scaler.update();
  }
  EXPECT_EQ(scaler.scale(), 2048.0);
  EXPECT_EQ(scaler.growth_tracker(), 0);
}

TEST(GradScaler, NonFiniteGradientHalvesTheScaleAndStartsTheCountAgain) {
  GradScaler scaler(torch::kCPU, 1024.0, 2000);
  auto good = torch::ones({2});
  ASSERT_TRUE(scaler.unscale({good}));
  scaler.update();
  EXPECT_EQ(scaler.growth_tracker(), 1);
  for (float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    const double before = scaler.scale();
    auto gradient = torch::ones({2});
    gradient[1] = bad;
    EXPECT_FALSE(scaler.unscale({gradient}));
    scaler.update();
    EXPECT_EQ(scaler.scale(), before / 2);
    EXPECT_EQ(scaler.growth_tracker(), 0);
  }
}

TEST(GradScaler, RestoresItsState) {
  GradScaler scaler(torch::kCPU);
  scaler.restore(512.0, 17);
  EXPECT_EQ(scaler.scale(), 512.0);
  EXPECT_EQ(scaler.growth_tracker(), 17);
  EXPECT_EQ(scaler.scale_loss(torch::full({}, 2.0f)).item<float>(), 1024.0f);
}

}  // namespace
}  // namespace lorikeet
