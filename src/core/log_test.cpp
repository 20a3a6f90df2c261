#include "core/log.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace lorikeet {
namespace {

class LogTest : public ::testing::Test {
 protected:
  ~LogTest() override {
    set_log_tap({});
    set_log_sink({});
  }
  void collect() {
    set_log_sink([this](LogLevel, std::string_view line) { shown_.emplace_back(line); });
    set_log_tap([this](std::string_view line) { tapped_.emplace_back(line); });
  }
  std::vector<std::string> shown_, tapped_;
};

TEST_F(LogTest, WritesToStandardErrorWithTheLevel) {
  testing::internal::CaptureStderr();
  log_info("one");
  log_warning("two");
  log_error("three");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "one\nwarning: two\nerror: three\n");
}

TEST_F(LogTest, HandsEveryLineToTheTapAsWell) {
  collect();
  log_info("one");
  log_warning("two");
  EXPECT_EQ(shown_, (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(tapped_, shown_);
}

TEST_F(LogTest, TapWorksWithoutASink) {
  collect();
  set_log_sink({});
  testing::internal::CaptureStderr();
  log_info("one");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "one\n");
  EXPECT_EQ(tapped_, std::vector<std::string>{"one"});
}

TEST_F(LogTest, EndsTheTapAlone) {
  collect();
  log_info("one");
  set_log_tap({});
  log_info("two");
  EXPECT_EQ(tapped_, std::vector<std::string>{"one"});
  EXPECT_EQ(shown_, (std::vector<std::string>{"one", "two"}));
}

TEST_F(LogTest, TakesLinesFromSeveralThreadsOneByOne) {
  collect();
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([] {
        for (int k = 0; k < 200; ++k) log_info("line");
      });
    }
  }
  EXPECT_EQ(tapped_.size(), 800u);
  EXPECT_EQ(shown_.size(), 800u);
}

}  // namespace
}  // namespace lorikeet
