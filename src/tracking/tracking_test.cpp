#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/log.h"
#include "tracking/event_file.h"
#include "tracking/hparams.h"
#include "tracking/jsonl_tracker.h"
#include "tracking/tensorboard_tracker.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

TEST(Crc32c, MatchesRfc3720) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43u);
}

TEST(ProtoMessage, EncodesAsTheFormatSays) {
  EXPECT_EQ(ProtoMessage().add_int(1, 150).bytes(), "\x08\x96\x01");
  EXPECT_EQ(ProtoMessage().add_int(1, 0).bytes(), "");
  EXPECT_EQ(ProtoMessage().add_int(1, -1).bytes(), "\x08" + std::string(9, '\xFF') + "\x01");
  EXPECT_EQ(ProtoMessage().add_bytes(2, "testing").bytes(), "\x12\x07testing");
  EXPECT_EQ(ProtoMessage().add_float(2, 1.0F).bytes(), std::string("\x15\0\0\x80\x3F", 5));
  EXPECT_EQ(ProtoMessage().add_message(20, ProtoMessage().add_int(1, 150)).bytes(), "\xA2\x01\x03\x08\x96\x01");
}

class TrackingTest : public ::testing::Test {
 protected:
  TrackingTest() {
    fs::create_directories(folder_);
    set_log_sink([this](LogLevel level, std::string_view line) {
      EXPECT_EQ(level, LogLevel::kWarning);
      warnings_.emplace_back(line);
    });
  }
  ~TrackingTest() override {
    set_log_sink({});
    fs::remove_all(folder_);
  }

  std::vector<Json> lines(const fs::path& file) {
    std::ifstream in(file);
    std::vector<Json> found;
    for (std::string line; std::getline(in, line);) found.push_back(Json::parse(line));
    return found;
  }

  fs::path folder_ = fs::temp_directory_path() / ("lorikeet_tracking_test_" + std::to_string(::getpid()));
  fs::path log_ = folder_ / "logs" / "run.jsonl";
  std::vector<std::string> warnings_;
};

TEST_F(TrackingTest, JsonlWritesOneObjectPerLine) {
  const auto tracker = make_jsonl_tracker(log_);
  tracker->log_config(R"({"learning_rate": 0.0001, "report_to": null})");
  tracker->log_scalars({{"loss", 0.1}, {"lr", 1e-4}}, 1);
  EXPECT_EQ(lines(log_).size(), 2u) << "each line is there at once";
  tracker->log_scalars({{"loss", std::numeric_limits<double>::quiet_NaN()}}, 2);
  tracker->log_images("validation", {{"png", "0: a \"cat\""}, {"png", "1: a cat"}}, 3);
  tracker->log_images("validation", {}, 4);
  tracker->finish();
  const auto found = lines(log_);
  ASSERT_EQ(found.size(), 4u);
  EXPECT_EQ(found[0]["config"]["learning_rate"], 0.0001);
  EXPECT_EQ(found[1]["step"], 1);
  EXPECT_EQ(found[1]["loss"], 0.1);
  EXPECT_EQ(found[1]["lr"], 1e-4);
  EXPECT_GT(found[1]["time"].get<double>(), 1.7e9);
  EXPECT_TRUE(found[2]["loss"].is_null());
  EXPECT_EQ(found[3]["images"]["validation"], (Json{"0: a \"cat\"", "1: a cat"}));
  EXPECT_TRUE(warnings_.empty());
}

TEST_F(TrackingTest, JsonlGoesOnBehindTheStepARunIsResumedAt) {
  {
    const auto tracker = make_jsonl_tracker(log_);
    tracker->log_config("{}");
    for (int step = 1; step <= 4; ++step) {
      tracker->log_scalars({{"loss", step}}, step);
      tracker->log_scalars({{"loss", step + 0.5}}, step);  // the next micro-step
      tracker->log_images("validation", {{"", ""}}, 100);  // counted by something else
    }
  }
  std::ofstream(log_, std::ios::app) << "{\"step\": 5, \"lo";  // killed here
  const auto tracker = make_jsonl_tracker(log_, 2);
  tracker->log_scalars({{"loss", 2.5}}, 2);
  tracker->log_scalars({{"loss", 3}}, 3);
  std::vector<double> losses;
  for (const Json& line : lines(log_)) {
    if (line.contains("loss")) losses.push_back(line["loss"]);
  }
  EXPECT_EQ(losses, (std::vector<double>{1, 1.5, 2, 2.5, 3}));
}

TEST_F(TrackingTest, JsonlGoesOnBehindSoManyRecords) {
  const auto log_all = [&](const std::unique_ptr<Tracker>& tracker) {
    tracker->log_scalars({{"loss", 1}}, 1);
    tracker->log_scalars({{"validation_loss", 1}}, 1);
    tracker->log_images("validation", {{"", ""}}, 0);
    tracker->log_scalars({{"loss", 2}}, 2);
    tracker->log_scalars({{"validation_loss", 2}}, 2);
  };
  for (const int64_t records : {0, 1, 2, 3, 4, 5, 100}) {
    fs::remove(log_);
    const auto first = make_jsonl_tracker(log_);
    first->log_config("{}");
    log_all(first);
    make_jsonl_tracker(log_, 1, records)->log_scalars({{"loss", 9}}, 9);
    const auto kept = static_cast<size_t>(std::min<int64_t>(records, 3));  // what follows is of a later step
    EXPECT_EQ(lines(log_).size(), (records == 0 ? 0 : 1) + kept + 1) << records;
    EXPECT_EQ(lines(log_).back()["step"], 9);
  }
}

TEST_F(TrackingTest, JsonlKeepsWholeLinesOfAKilledRun) {
  fs::create_directories(log_.parent_path());
  std::ofstream(log_) << "{\"step\": 1, \"loss\": 1}\nnot JSON\n{\"step\": 2, \"lo";
  make_jsonl_tracker(log_, 5)->log_scalars({{"loss", 6}}, 6);
  EXPECT_EQ(read_file(log_).substr(0, 32), "{\"step\": 1, \"loss\": 1}\nnot JSON\n");
  EXPECT_EQ(read_file(log_).find("\"lo\""), std::string::npos);
}

TEST_F(TrackingTest, JsonlKeepsAnotherRunsLog) {
  make_jsonl_tracker(log_)->log_scalars({{"loss", 1}}, 1);
  make_jsonl_tracker(log_)->log_scalars({{"loss", 2}}, 1);
  EXPECT_EQ(lines(log_).at(0)["loss"], 2);
  EXPECT_EQ(lines(folder_ / "logs" / "run.previous.jsonl").at(0)["loss"], 1);
}

TEST_F(TrackingTest, AFolderThatCannotBeMadeIsWarnedOfOnce) {
  std::ofstream(folder_ / "logs") << "a file where the folder should be";
  for (const bool tensorboard : {false, true}) {
    warnings_.clear();
    const auto tracker =
        tensorboard ? make_tensorboard_tracker(folder_ / "logs" / "run", {}) : make_jsonl_tracker(log_);
    tracker->log_config("{}");
    for (int step = 0; step < 3; ++step) tracker->log_scalars({{"loss", 1}}, step);
    tracker->finish();
    ASSERT_EQ(warnings_.size(), 1u);
    EXPECT_NE(warnings_[0].find(tensorboard ? "TensorBoard" : "JSONL"), std::string::npos);
    EXPECT_NE(warnings_[0].find((folder_ / "logs").string()), std::string::npos) << warnings_[0];
  }
}

TEST_F(TrackingTest, WhatIsNoPngIsWarnedOf) {
  const auto tracker = make_tensorboard_tracker(folder_ / "run", {});
  tracker->log_images("validation", {{"not a PNG", ""}}, 1);
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_NE(warnings_[0].find("not a PNG file"), std::string::npos);
}

/// A disk that is full, for this process, beyond `bytes` per file.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST_F(TrackingTest, AFullDiskLeavesWholeLines) {
  const auto tracker = make_jsonl_tracker(log_);
  {
    const FullDisk disk(200);
    for (int step = 1; step <= 50; ++step) tracker->log_scalars({{"loss", 0.5}}, step);
  }
  EXPECT_EQ(warnings_.size(), 1u);
  const size_t before = lines(log_).size();
  EXPECT_GE(before, 2u);
  EXPECT_LT(before, 50u);
  tracker->log_scalars({{"loss", 0.5}}, 51);  // there is room again
  const auto found = lines(log_);
  ASSERT_EQ(found.size(), 51u) << "nothing is lost";
  for (int step = 1; step <= 51; ++step) EXPECT_EQ(found[static_cast<size_t>(step - 1)]["step"], step);
}

TEST_F(TrackingTest, JsonlForgetsLinesWhenThereAreTooManyToKeep) {
  const auto tracker = make_jsonl_tracker(log_);
  const std::string caption(400 << 10, 'c');
  {
    const FullDisk disk(200);
    for (int step = 1; step <= 4; ++step) tracker->log_images("validation", {{"png", caption}}, step);
  }
  tracker->log_scalars({{"loss", 0.5}}, 5);
  const auto found = lines(log_);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0]["step"], 4);
  EXPECT_EQ(found[1]["step"], 5);
}

TEST_F(TrackingTest, AFullDiskLeavesWholeEvents) {
  AppendFile file(folder_ / "events");
  const std::string record(64, 'r');
  {
    const FullDisk disk(100);
    file.append(record);
    EXPECT_THROW(file.append(record), FileError);
  }
  EXPECT_EQ(fs::file_size(folder_ / "events"), 64u);
  file.append(record);
  EXPECT_EQ(read_file(folder_ / "events"), record + record);
}

TEST_F(TrackingTest, TensorBoardMakesAcceleratesFolders) {
  const auto tracker = make_tensorboard_tracker(folder_ / "run", {});
  tracker->log_config(R"({"seed": 0})");
  tracker->finish();
  int events = 0, sub_runs = 0, yaml = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder_ / "run")) {
    const std::string name = entry.path().filename();
    if (entry.is_directory()) {
      ++sub_runs;
      EXPECT_GT(std::stod(name), 1.7e9);
    }
    if (name.starts_with("events.out.tfevents.")) ++events;
    if (name == "hparams.yml") ++yaml;
  }
  EXPECT_EQ(events, 2);
  EXPECT_EQ(sub_runs, 2);
  EXPECT_EQ(yaml, 1);
}

TEST(HparamsYaml, IsReadBackUnchanged) {
  EXPECT_EQ(hparams_yaml(R"({"b": 1e-5, "a": "x: y", "c": null, "d": true, "e": [1, "2"], "f": 3, "g": 2.0})"),
            "\"a\": \"x: y\"\n\"b\": 1.0e-05\n\"c\": null\n\"d\": true\n\"e\": [1, \"2\"]\n\"f\": 3\n\"g\": 2.0\n");
}

TEST(HparamsValues, RefusesWhatIsNoJson) { EXPECT_ANY_THROW(hparams_values("{")); }

}  // namespace
}  // namespace lorikeet
