#include "tracking/wandb_sync.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "core/errors.h"
#include "core/log.h"
#include "tracking/child_process.h"
#include "tracking/wandb_test_env.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;
using Lines = std::vector<std::string>;

class WandbSyncTest : public ::testing::Test {
 protected:
  WandbSyncTest() {
    fs::create_directories(folder_ / "bin");
    environment_.set("HOME", folder_.string());
    environment_.set("PATH", (folder_ / "bin").string() + ":/usr/bin:/bin");
    set_log_sink([this](LogLevel level, std::string_view line) {
      (level == LogLevel::kInfo ? infos_ : warnings_).emplace_back(line);
    });
  }
  ~WandbSyncTest() override {
    set_log_sink({});
    fs::remove_all(folder_);
  }
  /// A `wandb` of our own.
  void install(const std::string& script) {
    const fs::path file = folder_ / "bin" / "wandb";
    std::ofstream(file) << "#!/bin/sh\n" << script << "\n";
    fs::permissions(file, fs::perms::owner_all);
  }

  TestEnvironment environment_;
  fs::path folder_ = fs::temp_directory_path() / ("lorikeet_wandb_sync_test_" + std::to_string(::getpid()));
  Lines infos_, warnings_;
};

std::pair<std::optional<int>, Lines> run(const std::string& script, int limit_ms = 20'000) {
  Lines lines;
  const auto code = run_child({{"/bin/sh", "-c", script}, {{"ADDED", "a b"}}, std::chrono::milliseconds(limit_ms)},
                              [&](std::string_view line) { lines.emplace_back(line); });
  return {code, lines};
}

TEST_F(WandbSyncTest, AChildsLinesAndExitCodeAreRead) {
  EXPECT_EQ(run("echo one; echo two >&2; printf three; exit 4"),
            std::pair(std::optional(4), Lines{"one", "two", "three"}));
  EXPECT_EQ(run("echo \"$ADDED\"; cat").second, Lines{"a b"}) << "its standard input is empty";
  EXPECT_EQ(run(R"(printf '10%%\r\033[31mred\033[0m\r\n\001x\n')").second, (Lines{"10%", "red", "x"}));
  EXPECT_EQ(run("kill -9 $$").first, 128 + 9);
}

TEST_F(WandbSyncTest, AChildIsStoppedWithAllItStarted) {
  const auto begin = std::chrono::steady_clock::now();
  const auto [code, lines] = run("echo begun; sleep 60 & sleep 60", 300);
  EXPECT_FALSE(code);
  EXPECT_EQ(lines, Lines{"begun"});
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

TEST_F(WandbSyncTest, WhatAChildLeavesBehindIsNotWaitedFor) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(run("sleep 20 & exit 0").first, 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(15));
}

TEST_F(WandbSyncTest, AMissingProgramIsAnError) {
  EXPECT_THROW(run_child({{(folder_ / "missing").string()}, {}}, [](std::string_view) {}), FileError);
  EXPECT_FALSE(find_program("lorikeet-no-such-program"));
  fs::create_directories(folder_ / "bin" / "wandb");
  EXPECT_FALSE(find_program("wandb")) << "a folder is no program";
}

TEST_F(WandbSyncTest, CredentialsAreLookedForAsTheOfficialProgramDoes) {
  EXPECT_FALSE(has_wandb_credentials());
  std::ofstream(folder_ / ".netrc") << "# machine api.wandb.ai password no\nmachine github.com login a password b\n";
  EXPECT_FALSE(has_wandb_credentials());
  std::ofstream(folder_ / ".netrc", std::ios::app) << "machine \"api.wandb.ai\"\n  login user\n  password key\n";
  EXPECT_TRUE(has_wandb_credentials());
  environment_.set("WANDB_BASE_URL", "http://localhost:8080/");
  EXPECT_FALSE(has_wandb_credentials());
  std::ofstream(folder_ / "other") << "machine localhost:8080 login user password key";
  environment_.set("NETRC", (folder_ / "other").string());
  EXPECT_TRUE(has_wandb_credentials());
  environment_.set("NETRC", (folder_ / "missing").string());
  EXPECT_FALSE(has_wandb_credentials());
  environment_.set("WANDB_API_KEY", "key");
  EXPECT_TRUE(has_wandb_credentials());
}

TEST_F(WandbSyncTest, WithoutProgramOrCredentialsOneLineTellsWhatToType) {
  const std::vector<WandbPart> parts{{"a b/run", false}, {"c", true}};
  const Lines expected{"wandb: to upload this run: wandb sync 'a b/run' && WANDB_RESUME=allow wandb sync c"};
  environment_.set("PATH", (folder_ / "bin").string());
  environment_.set("WANDB_API_KEY", "key");
  sync_wandb_run(parts, std::chrono::seconds(20));
  EXPECT_EQ(infos_, expected);
  infos_.clear();
  install("echo never");
  environment_.set("WANDB_API_KEY", "");
  sync_wandb_run(parts, std::chrono::seconds(20));
  EXPECT_EQ(infos_, expected);
  EXPECT_TRUE(warnings_.empty());
}

TEST_F(WandbSyncTest, PartsAreUploadedOneAfterAnother) {
  environment_.set("WANDB_API_KEY", "a-secret-key");
  install("echo \"$1 $2 [$WANDB_RESUME] $WANDB_DIR $WANDB_API_KEY\"; touch \"$2/run.wandb.synced\"");
  for (const char* name : {"one", "two"}) fs::create_directories(folder_ / name);
  const std::string one = (folder_ / "one").string(), two = (folder_ / "two").string();
  const std::string runs = folder_.parent_path().string();  // where the official program keeps its own logs
  sync_wandb_run({{one, false}, {two, true}}, std::chrono::seconds(20));
  EXPECT_EQ(infos_, (Lines{"wandb: uploading this run (Ctrl-C stops it; the run stays in " + two + ")",
                           "sync " + one + " [] " + runs + " ***", "sync " + two + " [allow] " + runs + " ***"}));
  EXPECT_TRUE(warnings_.empty());
}

TEST_F(WandbSyncTest, AFailureIsAWarning) {
  environment_.set("WANDB_API_KEY", "key");
  const std::string part = (folder_ / "part").string();
  const std::string again = "; to try again: wandb sync " + part;
  fs::create_directories(part);
  install("exit 3");
  sync_wandb_run({{part, false}}, std::chrono::seconds(20));
  install("exit 0");
  sync_wandb_run({{part, false}}, std::chrono::seconds(20));
  install("exec sleep 60");
  sync_wandb_run({{part, false}}, std::chrono::seconds(1));
  EXPECT_EQ(warnings_, (Lines{"`wandb sync` failed: it ended with exit code 3" + again,
                              "`wandb sync` failed: it did not upload the run" + again,
                              "`wandb sync` failed: it took more than 1 seconds" + again}));
}

}  // namespace
}  // namespace lorikeet
