#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zlib.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/log.h"
#include "tracking/wandb_file.h"
#include "tracking/wandb_row.h"
#include "tracking/wandb_settings.h"
#include "tracking/wandb_test_env.h"
#include "tracking/wandb_tracker.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;
constexpr size_t kBlock = 32768;

TEST(ProtoReader, ReadsWhatProtoMessageWrites) {
  const ProtoMessage message =
      ProtoMessage().add_int(1, -1).add_bytes(20, "text").add_double(3, 0.5).add_float(4, 0.5F).add_int(5, 150);
  ProtoReader reader(message.bytes());
  EXPECT_EQ(reader.next()->value, ~uint64_t{0});
  const auto text = reader.next();
  EXPECT_EQ(text->number, 20);
  EXPECT_EQ(text->bytes, "text");
  EXPECT_EQ(reader.next()->value, 0x3FE0000000000000u);
  EXPECT_EQ(reader.next()->value, 0x3F000000u);
  EXPECT_EQ(reader.next()->value, 150u);
  EXPECT_FALSE(reader.next());
}

TEST(ProtoReader, RefusesWhatIsNoMessage) {
  const auto read_all = [](std::string_view bytes) {
    ProtoReader reader(bytes);
    while (reader.next()) {
    }
  };
  EXPECT_THROW(read_all("\x08"), FormatError);  // a number is missing
  EXPECT_THROW(read_all("\x0A\x05"
                        "abc"),
               FormatError);  // three bytes of five
  EXPECT_THROW(read_all("\x09"
                        "1234567"),
               FormatError);                    // seven bytes of eight
  EXPECT_THROW(read_all("\x0B"), FormatError);  // a group
  EXPECT_THROW(read_all("\x08" + std::string(10, '\xFF') + "\x01"), FormatError);
  EXPECT_THROW(read_all("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"), FormatError);  // 2^64-1 bytes
}

class WandbTest : public ::testing::Test {
 protected:
  WandbTest() {
    fs::create_directories(folder_);
    environment_.set("HOME", folder_.string());
    set_log_sink([this](LogLevel level, std::string_view line) {
      (level == LogLevel::kInfo ? infos_ : warnings_).emplace_back(line);
      if (console_) console_->log_console(line);
    });
  }
  ~WandbTest() override {
    set_log_sink({});
    fs::remove_all(folder_);
  }

  static std::vector<std::string> records(const fs::path& file) {
    WandbReader reader(read_file(file));
    std::vector<std::string> found;
    while (auto entry = reader.next()) found.push_back(entry->record);
    return found;
  }
  static std::string payload(const std::string& record) {
    ProtoReader reader(record);
    reader.next();
    return std::string(reader.next()->bytes);
  }
  std::unique_ptr<Tracker> tracker(int64_t first_step = 0) {
    return make_wandb_tracker({folder_ / "logs", "dreambooth-lora", first_step});
  }
  /// The .wandb files in the order of their parts.
  std::vector<fs::path> files() const {
    std::vector<fs::path> found;
    for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
      if (entry.path().extension() == ".wandb") found.push_back(entry.path());
    }
    std::sort(found.begin(), found.end());
    return found;
  }
  /// "step:loss" of each row.
  static std::vector<std::string> rows(const fs::path& file) {
    std::vector<std::string> found;
    for (const std::string& record : records(file)) {
      const WandbRow row = WandbRow::from_record(kWandbHistory, record);
      if (!row.empty()) found.push_back(*row.find("_step") + ":" + row.find("loss").value_or("-"));
    }
    return found;
  }

  TestEnvironment environment_;
  fs::path folder_ = fs::temp_directory_path() / ("lorikeet_wandb_test_" + std::to_string(::getpid()));
  fs::path file_ = folder_ / "run.wandb";
  std::vector<std::string> infos_, warnings_;
  Tracker* console_ = nullptr;
};

TEST_F(WandbTest, OneChunkIsAsTheFormatSays) {
  WandbFile(file_).add(kWandbExit, ProtoMessage().add_int(1, 3));
  const std::string bytes = read_file(file_);
  const std::string record("\x08\x01\x92\x01\x02\x08\x03", 7);  // num 1, field 18 of two bytes: exit_code 3
  ASSERT_EQ(bytes.size(), 7 + 7 + record.size());
  EXPECT_EQ(bytes.substr(0, 7), std::string(":W&B\xE1\xBE\0", 7));
  const std::string checked = "\x01" + record;
  const auto crc = crc32(0, reinterpret_cast<const Bytef*>(checked.data()), static_cast<uInt>(checked.size()));
  EXPECT_EQ(bytes.substr(7, 4), little_endian(crc, 4));
  EXPECT_EQ(bytes.substr(11, 3), std::string("\x07\0\x01", 3));
  EXPECT_EQ(bytes.substr(14), record);
}

TEST_F(WandbTest, RecordsOfEverySizeAroundABlocksEndAreReadBack) {
  // The first record leaves 0 to 20 bytes in the first block; then come short, empty and long ones.
  for (size_t left = 0; left <= 20; ++left) {
    fs::remove(file_);
    std::vector<std::string> texts{std::string(kBlock - 7 - 7 - left - 10, 'a')};
    texts.insert(texts.end(), {"short", "", std::string(100'000, 'b'), "tail"});
    {
      WandbFile file(file_);
      for (const std::string& text : texts) file.add(kWandbFiles, ProtoMessage().add_bytes(1, text));
    }
    const auto found = records(file_);
    ASSERT_EQ(found.size(), texts.size()) << left;
    for (size_t i = 0; i < texts.size(); ++i) {
      ASSERT_EQ(payload(found[i]), ProtoMessage().add_bytes(1, texts[i]).bytes()) << left << " " << i;
    }
  }
}

TEST_F(WandbTest, NoChunkCrossesABlock) {
  {
    WandbFile file(file_);
    for (int i = 0; i < 300; ++i) file.add(kWandbFiles, ProtoMessage().add_bytes(1, std::string(i * 7, 'x')));
  }
  const std::string bytes = read_file(file_);
  size_t position = 7, chunks = 0;
  while (position < bytes.size()) {
    const size_t left = kBlock - position % kBlock;
    if (left < 7) {
      EXPECT_EQ(bytes.substr(position, left), std::string(left, '\0'));
      position += left;
      continue;
    }
    const size_t size = static_cast<uint8_t>(bytes[position + 4]) | static_cast<uint8_t>(bytes[position + 5]) << 8;
    ASSERT_LE(7 + size, left);
    position += 7 + size;
    ++chunks;
  }
  EXPECT_EQ(position, bytes.size());
  EXPECT_GT(chunks, 300u);
}

TEST_F(WandbTest, ATornTailLeavesWhatIsBeforeIt) {
  {
    WandbFile file(file_);
    for (int i = 0; i < 3; ++i) file.add(kWandbFiles, ProtoMessage().add_bytes(1, std::string(40'000, 'a')));
  }
  const std::string whole = read_file(file_);
  for (const size_t cut : {1u, 6u, 100u, 7'300u, 7'400u, 39'000u}) {
    std::ofstream(file_, std::ios::trunc) << whole.substr(0, whole.size() - cut);
    EXPECT_EQ(records(file_).size(), 2u) << cut;
  }
  std::string damaged = whole;
  damaged[50'000] ^= 1;  // in the second record
  std::ofstream(file_, std::ios::trunc) << damaged;
  EXPECT_EQ(records(file_).size(), 1u);
}

TEST_F(WandbTest, RefusesOtherFiles) {
  EXPECT_THROW(WandbReader(""), FormatError);
  EXPECT_THROW(WandbReader("SQLite format 3"), FormatError);
  std::ofstream(file_) << "a file of another run";
  EXPECT_THROW(WandbFile{file_}, FileError);
}

TEST_F(WandbTest, AFullDiskLeavesWholeRecords) {
  WandbFile file(file_);
  const ProtoMessage content = ProtoMessage().add_bytes(1, std::string(50, 'a'));
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{150, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  file.add(kWandbFiles, content);
  EXPECT_THROW(file.add(kWandbFiles, ProtoMessage().add_bytes(1, std::string(500, 'b'))), FileError);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  file.add(kWandbFiles, content);
  const auto found = records(file_);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[1].substr(0, 2), "\x08\x02") << "records are numbered without gaps";
}

TEST_F(WandbTest, ScalarsOfOneStepAreOneRow) {
  const auto wandb = tracker();
  wandb->log_config("{}");
  wandb->log_scalars({{"loss", 1}, {"lr", 0.5}}, 1);
  wandb->log_scalars({{"loss", 1.5}}, 1);
  wandb->log_scalars({{"loss", std::numeric_limits<double>::quiet_NaN()}}, 4);
  wandb->log_scalars({{"loss", 99}}, 2);  // too late
  wandb->log_scalars({{"loss", -std::numeric_limits<double>::infinity()}}, 5);
  EXPECT_EQ(rows(files().at(0)), (std::vector<std::string>{"1:1.5", "4:NaN"})) << "the row of step 5 may still grow";
  wandb->finish();
  EXPECT_EQ(rows(files().at(0)), (std::vector<std::string>{"1:1.5", "4:NaN", "5:-Infinity"}));
  EXPECT_TRUE(warnings_.empty());
}

TEST_F(WandbTest, AResumedRunMakesEachStepOnce) {
  environment_.set("WANDB_MODE", "offline");
  {
    const auto wandb = tracker();
    for (int step = 1; step <= 7; ++step) wandb->log_scalars({{"loss", step}}, step);
  }
  std::ofstream(files().at(0), std::ios::app) << "torn";
  {
    const auto wandb = tracker(5);
    for (int step = 5; step <= 9; ++step) wandb->log_scalars({{"loss", step + 0.5}}, step);
    wandb->finish();
  }
  const auto parts = files();
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].filename(), parts[1].filename()) << "the same id";
  EXPECT_EQ(rows(parts[0]), (std::vector<std::string>{"1:1", "2:2", "3:3", "4:4", "5:5"}));
  EXPECT_EQ(rows(parts[1]), (std::vector<std::string>{"6:6.5", "7:7.5", "8:8.5", "9:9.5"}));
  ASSERT_EQ(infos_.size(), 1u);
  EXPECT_NE(infos_[0].find(" && WANDB_RESUME=allow wandb sync "), std::string::npos) << infos_[0];
  EXPECT_NE(infos_[0].find(parts[1].parent_path().string()), std::string::npos);
}

TEST_F(WandbTest, ARowThatAKilledRunDidNotCompleteIsNotLost) {
  environment_.set("WANDB_MODE", "offline");
  const fs::path saved = folder_ / "saved";
  {
    const auto wandb = tracker();
    wandb->log_scalars({{"loss", 1}, {"lr", 0.5}}, 1);
    wandb->log_scalars({{"loss", 2}, {"lr", 0.25}}, 2);
    wandb->log_scalars({{"loss", 2.5}}, 2);
    fs::copy_file(files().at(0), saved);  // what a kill -9 here leaves
  }
  fs::copy_file(saved, files().at(0), fs::copy_options::overwrite_existing);
  const auto wandb = tracker(2);
  wandb->log_scalars({{"loss", 3}}, 3);
  wandb->finish();
  EXPECT_EQ(rows(files().at(0)), (std::vector<std::string>{"1:1"}));
  EXPECT_EQ(rows(files().at(1)), (std::vector<std::string>{"2:2.5", "3:3"}));
}

TEST_F(WandbTest, WhatIsUploadedIsNotCutOff) {
  environment_.set("WANDB_MODE", "offline");
  {
    const auto wandb = tracker();
    for (int step = 1; step <= 7; ++step) wandb->log_scalars({{"loss", step}}, step);
  }
  std::ofstream(files().at(0).string() + ".synced");
  const auto wandb = tracker(5);
  for (int step = 6; step <= 9; ++step) wandb->log_scalars({{"loss", step + 0.5}}, step);
  wandb->finish();
  EXPECT_EQ(rows(files().at(0)).size(), 7u);
  EXPECT_EQ(rows(files().at(1)), (std::vector<std::string>{"8:8.5", "9:9.5"}));
  EXPECT_EQ(infos_.at(0).find("&&"), std::string::npos) << "the first part is not uploaded again";
}

TEST_F(WandbTest, AnotherRunHasAnotherId) {
  environment_.set("WANDB_MODE", "offline");
  tracker()->log_scalars({{"loss", 1}}, 1);
  tracker()->log_scalars({{"loss", 1}}, 1);
  const auto found = files();
  ASSERT_EQ(found.size(), 2u);
  EXPECT_NE(found[0].filename(), found[1].filename());
  EXPECT_EQ(rows(found[0]).size(), 1u);
}

TEST_F(WandbTest, ADamagedEarlierPartIsWarnedOf) {
  environment_.set("WANDB_MODE", "offline");
  tracker()->log_scalars({{"loss", 1}}, 1);
  const fs::path first = files().at(0);
  std::ofstream(first, std::ios::trunc) << "no .wandb file at all";
  auto wandb = tracker(1);
  wandb->log_scalars({{"loss", 2}}, 2);
  wandb.reset();
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_NE(warnings_[0].find(first.string()), std::string::npos);
  EXPECT_EQ(rows(files().at(1)), (std::vector<std::string>{"2:2"}));
}

TEST_F(WandbTest, ConsoleLinesMayComeFromALogSink) {
  const auto wandb = tracker();
  wandb->log_config("{}");
  console_ = wandb.get();
  log_info("a line");
  wandb->log_images("validation", {{"no PNG", ""}}, 1);  // warned of, which is a line again
  wandb->finish();
  console_ = nullptr;
  std::string all;
  for (const std::string& record : records(files().at(0))) all += record;
  EXPECT_NE(all.find("a line\n"), std::string::npos);
  EXPECT_NE(all.find("not a PNG file"), std::string::npos);
}

TEST_F(WandbTest, DisabledWritesNothing) {
  for (const auto& [name, value] : {std::pair("WANDB_MODE", "disabled"), std::pair("WANDB_DISABLED", "True")}) {
    TestEnvironment environment;
    environment.set(name, value);
    const auto wandb = tracker();
    wandb->log_config("{}");
    wandb->log_scalars({{"loss", 1}}, 1);
    wandb->finish();
    EXPECT_TRUE(files().empty());
    EXPECT_TRUE(infos_.empty());
  }
}

TEST_F(WandbTest, AFolderThatCannotBeMadeIsWarnedOfOnce) {
  std::ofstream(folder_ / "logs") << "a file where the folder should be";
  const auto wandb = tracker();
  wandb->log_config("{}");
  for (int step = 0; step < 3; ++step) wandb->log_scalars({{"loss", 1}}, step);
  wandb->finish();
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_NE(warnings_[0].find("wandb logging failed"), std::string::npos) << warnings_[0];
}

TEST_F(WandbTest, BadVariablesAreRefused) {
  for (const auto& [name, value] : {std::pair<std::string, std::string>{"WANDB_MODE", "shared"},
                                    {"WANDB_PROJECT", "a/b"},
                                    {"WANDB_PROJECT", std::string(129, 'a')},
                                    {"WANDB_RUN_ID", "a/b"},
                                    {"WANDB_RUN_ID", " a"},
                                    {"WANDB_TAGS", "a,,b"},
                                    {"WANDB_TAGS", std::string(65, 'a')}}) {
    TestEnvironment environment;
    environment.set(name, value);
    try {
      tracker();
      ADD_FAILURE() << name << "=" << value;
    } catch (const UsageError& error) {
      EXPECT_EQ(std::string(error.what()).find(name), 0u) << error.what();
    }
  }
}

TEST(WandbSecrets, AreLeftOut) {
  TestEnvironment environment;
  environment.set("HF_TOKEN", "hf_abcdefgh");
  environment.set("WANDB_API_KEY", "short");
  EXPECT_EQ(
      without_secrets(R"({"hub_token": "x", "keep_tokens": 2, "wandb_api_key": "y", "url": "u:hf_abcdefgh@short"})"),
      R"({"keep_tokens":2,"url":"u:***@short"})");
}

}  // namespace
}  // namespace lorikeet
