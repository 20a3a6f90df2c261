#include "core/progress.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace lorikeet {
namespace {

ProgressState steps(int64_t done, int64_t total, double elapsed, std::optional<double> rate) {
  ProgressState state;
  state.description = "Steps";
  state.done = done;
  state.total = total;
  state.elapsed = elapsed;
  state.rate = rate;
  return state;
}

TEST(RenderProgress, LooksLikeTqdm) {
  ProgressState state = steps(5, 10, 5, 1.0);
  state.postfix = "loss=0.123, lr=0.0001";
  EXPECT_EQ(render_progress(state, 76, true),
            "Steps:  50%|#####     | 5/10 [00:05<00:05,  1.00it/s, loss=0.123, lr=0.0001]");
}

TEST(RenderProgress, FillsTheWidthExactly) {
  for (const bool ascii : {true, false}) {
    const std::string line = render_progress(steps(3, 7, 61, 4.5), 100, ascii);
    const auto continuation = [](char c) { return (c & 0xC0) == 0x80; };
    EXPECT_EQ(line.size() - std::count_if(line.begin(), line.end(), continuation), 100u);
  }
}

TEST(RenderProgress, DrawsEighthsOfABlock) {
  // 45 columns leave a bar of 2: 3/16 of it are 3 eighths of one block.
  const std::string line = render_progress(steps(3, 16, 3, 1.0), 45, false);
  EXPECT_NE(line.find("|▍ |"), std::string::npos) << line;
}

TEST(RenderProgress, GivesSecondsPerUnitWhenSlow) {
  EXPECT_EQ(render_progress(steps(1, 500, 2, 0.5), 46, true), "Steps:   0%|  | 1/500 [00:02<16:38,  2.00s/it]");
}

TEST(RenderProgress, SaysHoursAndUnknowns) {
  const std::string hours = render_progress(steps(1, 3, 3725, 1.0 / 3725), 80, true);
  EXPECT_NE(hours.find("[1:02:05<2:04:10,"), std::string::npos) << hours;
  const std::string start = render_progress(steps(0, 3, 0, std::nullopt), 80, true);
  EXPECT_NE(start.find("0/3 [00:00<?, ?it/s]"), std::string::npos) << start;
  EXPECT_EQ(render_progress(steps(12, 0, 3, 4.0), 80, true), "Steps: 12it [00:03,  4.00it/s]");
}

TEST(RenderProgress, NeverGrowsBeyondTheTerminal) {
  ProgressState state = steps(5, 10, 5, 1.0);
  state.description = "Übung macht den Meister";
  for (int columns = 1; columns < 60; ++columns) {
    const std::string line = render_progress(state, columns, true);
    EXPECT_LE(line.size(), static_cast<size_t>(columns) + 1) << line;  // Ü has two bytes
    EXPECT_TRUE(line.empty() || (line.back() & 0xC0) != 0xC0) << "cut within a character";
  }
}

class BarTest : public ::testing::Test {
 protected:
  ProgressOutput output(bool terminal) {
    ProgressOutput output;
    output.terminal = terminal;
    output.ascii = true;
    output.columns = [] { return 60; };
    output.clock = [this] { return now_; };
    output.write = [this](std::string_view text) { writes_.emplace_back(text); };
    return output;
  }

  double now_ = 100;
  std::vector<std::string> writes_;
};

TEST_F(BarTest, RedrawsAtMostTenTimesASecond) {
  {
    ProgressBar bar("Steps", 1000, 0, output(true));
    for (int i = 1; i <= 1000; ++i) {
      now_ += 0.001;
      bar.update(i);
    }
  }
  EXPECT_GE(writes_.size(), 8u);
  EXPECT_LE(writes_.size(), 13u);
  EXPECT_EQ(writes_.back(), "\n");
  EXPECT_NE(writes_[writes_.size() - 2].find("1000/1000"), std::string::npos);
}

TEST_F(BarTest, WritesFewPlainLinesWithoutATerminal) {
  {
    ProgressBar bar("Steps", 100, 0, output(false));
    for (int i = 1; i <= 100; ++i) {
      now_ += 0.5;
      bar.update(i, "loss=0.5");
    }
  }
  EXPECT_EQ(writes_.size(), 6u);  // start and every ten of fifty seconds, the last of which is the end: said once
  for (const std::string& line : writes_) {
    EXPECT_EQ(line.find('\r'), std::string::npos);
    EXPECT_EQ(line.back(), '\n');
  }
  EXPECT_NE(writes_.back().find("100%"), std::string::npos);
}

TEST_F(BarTest, DoesNotCountWhatWasDoneBefore) {
  ProgressBar bar("Steps", 500, 400, output(true));
  EXPECT_NE(writes_.back().find("400/500 [00:00<?, ?it/s]"), std::string::npos) << writes_.back();
  now_ += 10;
  bar.update(420);
  EXPECT_NE(writes_.back().find("420/500 [00:10<00:40,  2.00it/s]"), std::string::npos) << writes_.back();
}

TEST_F(BarTest, FollowsAChangeOfPace) {
  ProgressBar bar("Steps", 1000, 0, output(true));
  int done = 0;
  for (int i = 0; i < 20; ++i, now_ += 1) bar.update(++done);
  for (int i = 0; i < 20; ++i, now_ += 1) bar.update(done += 10);
  EXPECT_NE(writes_.back().find(" 9.9"), std::string::npos) << writes_.back();
}

TEST_F(BarTest, LinesGoAboveTheBar) {
  ProgressBar bar("Steps", 10, 0, output(true));
  bar.write_line("checkpoint written");
  ASSERT_EQ(writes_.size(), 3u);
  EXPECT_EQ(writes_[1], "\rcheckpoint written\033[K\n");
  EXPECT_NE(writes_[2].find("0/10"), std::string::npos);
}

TEST_F(BarTest, IsSilentOnceFinished) {
  ProgressBar bar("Steps", 10, 0, output(true));
  bar.finish();
  const size_t count = writes_.size();
  now_ += 5;
  bar.update(3);
  bar.finish();
  EXPECT_EQ(writes_.size(), count);
}

}  // namespace
}  // namespace lorikeet
