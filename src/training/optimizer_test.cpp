// AdamW and the learning-rate schedules against Python's numbers (tools/reference/optimizer.py).
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "training/adamw.h"
#include "training/lr_schedule.h"

namespace lorikeet {
namespace {

nlohmann::json reference() { return nlohmann::json::parse(read_file("tests/data/optimizer_reference.json")); }

TEST(AdamW, FollowsPythonsTrace) {
  const auto trace = reference()["adamw"];
  auto parameter = torch::linspace(-1, 1, 5).set_requires_grad(true);
  AdamW optimizer({parameter}, {0.8, 0.95, 0.1, 1e-6});
  for (int step = 0; step < 6; ++step) {
    parameter.mutable_grad() = torch::cos(torch::arange(5.0) + step) * (step + 1);
    const auto norm = clip_gradient_norm({parameter}, 3.0);
    EXPECT_FLOAT_EQ(norm.item<float>(), trace["norms"][step].get<float>());
    optimizer.step(0.05);
    const auto expected = torch::tensor(trace["values"][step].get<std::vector<float>>());
    EXPECT_TRUE(torch::equal(parameter.detach(), expected)) << "step " << step;
  }
}

TEST(AdamW, RestoredStateGoesOnAlike) {
  const auto start = torch::linspace(-1, 1, 5);
  const auto run = [&](int first, int last, AdamW& optimizer, torch::Tensor& parameter) {
    for (int step = first; step < last; ++step) {
      parameter.mutable_grad() = torch::cos(torch::arange(5.0) + step);
      optimizer.step(0.1);
    }
  };
  auto whole = start.clone().set_requires_grad(true);
  AdamW one({whole}, {});
  run(0, 6, one, whole);
  auto first = start.clone().set_requires_grad(true);
  AdamW two({first}, {});
  run(0, 3, two, first);
  auto second = first.detach().clone().set_requires_grad(true);
  AdamW three({second}, {});
  three.restore(two.state());
  run(3, 6, three, second);
  EXPECT_TRUE(torch::equal(whole, second));
}

TEST(AdamW, RefusesAStateOfOtherShapes) {
  auto parameter = torch::zeros({3}).set_requires_grad(true);
  AdamW optimizer({parameter}, {});
  AdamW::State state{1, {torch::zeros({4})}, {torch::zeros({4})}};
  EXPECT_THROW(optimizer.restore(state), FormatError);
  EXPECT_THROW(optimizer.restore({}), FormatError);
}

TEST(ClipGradientNorm, LeavesNothingUndefined) {
  auto without = torch::zeros({3}).set_requires_grad(true);
  EXPECT_EQ(clip_gradient_norm({without}, 1.0).item<float>(), 0.0f);
}

TEST(LrSchedule, FollowsDiffusers) {
  for (const auto& trace : reference()["schedules"]) {
    LrSchedule schedule(
        {trace["name"], trace["base"], trace["warmup"], trace["total"], trace["cycles"], trace["power"]});
    for (size_t step = 0; step < trace["rates"].size(); ++step) {
      EXPECT_NEAR(schedule.rate(static_cast<int64_t>(step)), trace["rates"][step].get<double>(), 1e-15)
          << trace["name"] << " warmup " << trace["warmup"] << " step " << step;
    }
  }
}

TEST(LrSchedule, RefusesWhatItDoesNotKnow) {
  LrScheduleOptions options;
  options.name = "cosin";
  EXPECT_THROW(LrSchedule{options}, UsageError);
  options.name = "polynomial";
  options.base = 1e-8;
  EXPECT_THROW(LrSchedule{options}, UsageError);
}

}  // namespace
}  // namespace lorikeet
