// What tests/parquet_test.py cannot bring about from outside: a disk too small, and the lock between two runs.
#include "data/picture_spill.h"

#include <gtest/gtest.h>

#include <thread>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "io/file_test_support.h"

namespace lorikeet {
namespace {

PictureRecord record(const std::string& name, std::vector<std::string> captions) {
  PictureRecord made;
  made.name = name;
  made.captions = std::move(captions);
  return made;
}

TEST(PictureSpill, GivesBackWhatWasAdded) {
  TestFolder folder;
  std::vector<PictureRecord> written;
  {
    PictureSpill spill(folder.path(), "a1");
    EXPECT_FALSE(spill.load());
    spill.begin(5);
    spill.add(record("one", {"x", ""}), "abc");
    auto outside = record("two", {"y"});
    outside.file = folder.write("two.png", "pq");
    spill.add(outside);
    spill.add(record("three", {std::string("z\0\n", 3)}), "de");
    written = spill.commit();
  }
  EXPECT_EQ(read_file(folder.path() / "pictures-a1.bin"), "abcde");
  const auto read = PictureSpill(folder.path(), "a1").load();
  ASSERT_TRUE(read);
  ASSERT_EQ(read->size(), 3U);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ((*read)[i].name, written[i].name);
    EXPECT_EQ((*read)[i].file, written[i].file);
    EXPECT_EQ((*read)[i].offset, written[i].offset);
    EXPECT_EQ((*read)[i].bytes, written[i].bytes);
    EXPECT_EQ((*read)[i].captions, written[i].captions);
  }
  EXPECT_EQ((*read)[1].bytes, -1);
  EXPECT_EQ((*read)[2].offset, 3);
  EXPECT_FALSE(PictureSpill(folder.path(), "a2").load());
}

TEST(PictureSpill, EveryDamagedIndexIsNoticed) {
  TestFolder folder;
  {
    PictureSpill spill(folder.path(), "k");
    spill.begin(3);
    spill.add(record("one", {"caption"}), "abc");
    spill.commit();
  }
  int warnings = 0;
  set_log_sink([&](LogLevel level, std::string_view) { warnings += level == LogLevel::kWarning; });
  const std::string index = read_file(folder.path() / "pictures-k.index");
  for (size_t i = 0; i < index.size(); ++i) {
    auto damaged = index;
    damaged[i] = static_cast<char>(damaged[i] ^ 4);
    folder.write("pictures-k.index", damaged);
    EXPECT_FALSE(PictureSpill(folder.path(), "k").load()) << i;
    folder.write("pictures-k.index", index.substr(0, i));
    EXPECT_FALSE(PictureSpill(folder.path(), "k").load()) << i;
  }
  EXPECT_EQ(warnings, static_cast<int>(2 * index.size()));
  set_log_sink({});
  folder.write("pictures-k.index", index);
  EXPECT_TRUE(PictureSpill(folder.path(), "k").load());
}

TEST(PictureSpill, AsksTheDiskFirst) {
  TestFolder folder;
  PictureSpill spill(folder.path(), "a");
  const auto hint = expect_error<FileError>("take 4398046511104 MiB in " + folder.path().string() + ", where ",
                                            [&] { spill.begin(int64_t{1} << 62); });
  EXPECT_NE(hint.find("free some disk space"), std::string::npos);
}

TEST(PictureSpill, AnUnfinishedOneLeavesTheOldOne) {
  TestFolder folder;
  {
    PictureSpill spill(folder.path(), "a");
    spill.begin(3);
    spill.add(record("old", {"x"}), "abc");
    spill.commit();
  }
  {
    PictureSpill spill(folder.path(), "a");
    spill.begin(3);
    spill.add(record("new", {"x"}), "def");
  }
  const auto records = PictureSpill(folder.path(), "a").load();
  ASSERT_TRUE(records);
  EXPECT_EQ(records->front().name, "old");
  EXPECT_EQ(read_file(folder.path() / "pictures-a.bin"), "abc");
}

TEST(PictureSpill, ASecondRunWaitsForTheFirst) {
  TestFolder folder;
  bool done = false, saw = false;
  std::thread second;
  {
    PictureSpill first(folder.path(), "a");
    PictureSpill unrelated(folder.path(), "b");
    second = std::thread([&] {
      PictureSpill spill(folder.path(), "a");
      saw = done && spill.load();
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(120));
    first.begin(1);
    first.add(record("one", {"x"}), "a");
    first.commit();
    done = true;  // seen by the other thread only through the lock
  }
  second.join();
  EXPECT_TRUE(saw);
}

TEST(PictureSpill, AFolderThatCannotBeMadeIsTold) {
  TestFolder folder;
  const auto file = folder.write("file", "");
  expect_error<FileError>("cannot make the folder", [&] { PictureSpill spill(file / "inside", "a"); });
}

}  // namespace
}  // namespace lorikeet
