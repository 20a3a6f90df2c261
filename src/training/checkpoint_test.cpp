#include "training/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>

#include "core/errors.h"

namespace lorikeet {
namespace {
namespace fs = std::filesystem;

class CheckpointTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("lorikeet-checkpoint-test-" + std::to_string(::getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(int64_t step, float value = 1, int64_t elements = 4) {
    CheckpointState state;
    state.tensors.emplace_back("x", torch::full({elements}, value));
    state.values["step"] = step;
    write_checkpoint(folder_, step, state, [](const fs::path& folder) { std::ofstream(folder / "lora") << "lora"; });
  }
  std::vector<int64_t> steps() const {
    std::vector<int64_t> result;
    for (const auto& [step, path] : list_checkpoints(folder_)) result.push_back(step);
    return result;
  }
  fs::path folder_;
};

TEST_F(CheckpointTest, ReadsBackWhatItWrote) {
  write(12, 3.5f);
  const auto state = read_checkpoint(folder_ / "checkpoint-12");
  EXPECT_EQ(state.values["step"], 12);
  EXPECT_TRUE(torch::equal(state.tensors.at(0).second, torch::full({4}, 3.5f)));
  EXPECT_TRUE(fs::exists(folder_ / "checkpoint-12" / "lora"));
}

TEST_F(CheckpointTest, ListsByNumberAndOnlyWholeOnes) {
  for (int64_t step : {100, 20, 3}) write(step);
  fs::create_directories(folder_ / "checkpoint-500");  // without its manifest
  fs::create_directories(folder_ / "checkpoint");      // no number
  fs::create_directories(folder_ / "checkpoint-7-old");
  EXPECT_EQ(steps(), (std::vector<int64_t>{3, 20, 100}));
  EXPECT_EQ(find_checkpoint(folder_, "latest")->filename(), "checkpoint-100");
  EXPECT_EQ(find_checkpoint(folder_, "some/where/checkpoint-20")->filename(), "checkpoint-20");
}

TEST_F(CheckpointTest, RemovesWhatKilledRunsHaveLeft) {
  for (const char* name : {".checkpoint-3.incomplete", ".checkpoint-4.old", ".checkpoint-notes", "checkpoint-9.old"}) {
    fs::create_directories(folder_ / name / "inner");
  }
  write(5);
  EXPECT_FALSE(fs::exists(folder_ / ".checkpoint-3.incomplete"));
  EXPECT_FALSE(fs::exists(folder_ / ".checkpoint-4.old"));
  EXPECT_TRUE(fs::exists(folder_ / ".checkpoint-notes" / "inner"));
  EXPECT_TRUE(fs::exists(folder_ / "checkpoint-9.old" / "inner"));
}

TEST_F(CheckpointTest, NamedOneThatIsMissingIsAnError) {
  EXPECT_FALSE(find_checkpoint(folder_, "latest"));
  EXPECT_THROW(find_checkpoint(folder_, "checkpoint-9"), FileError);
  fs::create_directories(folder_ / "checkpoint-9");
  EXPECT_THROW(find_checkpoint(folder_, "checkpoint-9"), FileError) << "it is not whole";
}

TEST_F(CheckpointTest, PrunesTheOldest) {
  for (int64_t step : {1, 2, 10}) write(step);
  prune_checkpoints(folder_, 2, 10);
  EXPECT_EQ(steps(), (std::vector<int64_t>{2, 10}));
}

TEST_F(CheckpointTest, PrunesWhatAnEarlierRunHasLeftBeforeTheNewOne) {
  for (int64_t step : {500, 600, 10}) write(step);
  prune_checkpoints(folder_, 2, 10);
  EXPECT_EQ(steps(), (std::vector<int64_t>{10, 600}));
  prune_checkpoints(folder_, 1, 10);
  EXPECT_EQ(steps(), (std::vector<int64_t>{10}));
}

TEST_F(CheckpointTest, ReplacesOneOfTheSameStep) {
  write(5, 1);
  write(5, 2);
  EXPECT_TRUE(torch::equal(read_checkpoint(folder_ / "checkpoint-5").tensors.at(0).second, torch::full({4}, 2.0f)));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1) << "nothing is left lying about";
}

TEST_F(CheckpointTest, FullDiskKeepsTheLastGoodOne) {
  write(1, 7);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit tight{1000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &tight);
  EXPECT_THROW(write(2, 8, 10000), FileError);
  EXPECT_THROW(write(1, 8, 10000), FileError) << "the same step again";
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(steps(), std::vector<int64_t>{1});
  EXPECT_TRUE(torch::equal(read_checkpoint(folder_ / "checkpoint-1").tensors.at(0).second, torch::full({4}, 7.0f)));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);
}

TEST_F(CheckpointTest, DamagedStateIsNamed) {
  write(1);
  std::ofstream(folder_ / "checkpoint-1" / "state.json") << "{ not json";
  EXPECT_THROW(read_checkpoint(folder_ / "checkpoint-1"), FormatError);
  fs::remove(folder_ / "checkpoint-1" / "training_state.safetensors");
  std::ofstream(folder_ / "checkpoint-1" / "state.json") << "{}";
  EXPECT_THROW(read_checkpoint(folder_ / "checkpoint-1"), FileError);
}

}  // namespace
}  // namespace lorikeet
