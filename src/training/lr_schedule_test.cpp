// The learning-rate schedules against Diffusers' numbers (tools/reference/optimizers.py).
#include "training/lr_schedule.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/errors.h"

namespace lorikeet {
namespace {

TEST(LrSchedule, FollowsDiffusers) {
  const auto reference = nlohmann::json::parse(read_file("tests/data/optimizer_reference.json"));
  for (const auto& trace : reference["schedules"]) {
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
