#include "data/text_file.h"

#include <gtest/gtest.h>

#include <random>

#include "core/errors.h"
#include "data/data_test_support.h"

namespace lorikeet {
namespace {

using Fields = std::vector<std::string>;

std::filesystem::path write(const TemporaryFolder& folder, const std::string& bytes) {
  std::filesystem::remove(folder / "m.csv");  // writing over a file waits for the disk
  std::ofstream(folder / "m.csv", std::ios::binary) << bytes;
  return folder / "m.csv";
}

std::vector<Fields> records(const std::string& bytes) {
  static const TemporaryFolder folder;
  TextFile file(write(folder, bytes), "m.csv");
  std::vector<Fields> all;
  while (auto record = file.next_record()) all.push_back(*record);
  return all;
}

std::vector<std::string> lines(const std::string& bytes) {
  static const TemporaryFolder folder;
  TextFile file(write(folder, bytes), "m.csv");
  std::vector<std::string> all;
  while (auto line = file.next_line()) all.push_back(*line);
  return all;
}

TEST(TextFile, GivesLines) {
  EXPECT_EQ(lines("\xEF\xBB\xBF"
                  "a\r\n\nb"),
            (std::vector<std::string>{"a", "", "b"}));
  EXPECT_EQ(lines(""), (std::vector<std::string>{}));
  EXPECT_EQ(lines("a"), (std::vector<std::string>{"a"}));
  EXPECT_EQ(lines("\n"), (std::vector<std::string>{""}));
}

TEST(TextFile, GivesRecordsOfCsv) {
  EXPECT_EQ(records("a,b\r\n1, 2 \n\n   \n,\n"), (std::vector<Fields>{{"a", "b"}, {"1", " 2 "}, {"", ""}}));
  EXPECT_EQ(records("\"a \"\"b\"\", c\",\"two\r\nlines\"\nx"),
            (std::vector<Fields>{{"a \"b\", c", "two\r\nlines"}, {"x"}}));
  EXPECT_EQ(records("a\rb,\r"), (std::vector<Fields>{{"a"}, {"b", ""}})) << "line ends of old Macs";
  EXPECT_EQ(records("5\" tall,\"a\"b\n"), (std::vector<Fields>{{"5\" tall", "ab"}})) << "quotes within, as pandas";
  EXPECT_EQ(records("\"\"\n\"\",x\n"), (std::vector<Fields>{{""}, {"", "x"}}));
}

TEST(TextFile, KnowsWhereRecordsBegin) {
  static const TemporaryFolder folder;
  TextFile file(write(folder, "a\r\n\n\"x\ny\",1\nb\n"), "m.csv");
  for (const int64_t line : {1, 3, 5}) {
    ASSERT_TRUE(file.next_record());
    EXPECT_EQ(file.line(), line);
  }
  EXPECT_EQ(file.where(), "m.csv, line 5");
}

template <class Read>
std::string refusal(const std::string& bytes, Read read) {
  static const TemporaryFolder folder;
  TextFile file(write(folder, bytes), "m.csv");
  try {
    while (read(file)) {
    }
  } catch (const FormatError& error) {
    return error.what();
  }
  return "";
}

TEST(TextFile, RefusesEndlessRows) {
  const auto line = [](TextFile& file) { return file.next_line().has_value(); };
  const auto record = [](TextFile& file) { return file.next_record().has_value(); };
  EXPECT_EQ(refusal("a\n" + std::string(kLongestRow, 'x') + "\n", line), "");
  EXPECT_NE(refusal("a\n" + std::string(kLongestRow + 1, 'x'), line).find("line 2: longer than"), std::string::npos);
  EXPECT_NE(refusal("a\n" + std::string(kLongestRow + 1, 'x'), record).find("line 2: longer than"), std::string::npos);
  EXPECT_NE(refusal("a\n\"" + std::string(kLongestRow + 1, '\n'), record).find("line 2: longer"), std::string::npos);
  EXPECT_NE(refusal(std::string(20'000, ','), record).find("fields"), std::string::npos);
  EXPECT_NE(refusal("a\nb,\"never closed\n\n", record).find("line 2: a quote"), std::string::npos);
  EXPECT_THROW(TextFile("/does/not/exist", "m.csv"), FileError);
}

TEST(TextFile, SurvivesAnyBytes) {
  std::mt19937 random(3);
  for (int round = 0; round < 500; ++round) {
    std::string bytes;
    for (int i = 0; i < 200; ++i) bytes += "\",\r\n a\0\xFF"[random() % 8];
    try {
      records(bytes);
      lines(bytes);
    } catch (const FormatError&) {
    }
  }
}

}  // namespace
}  // namespace lorikeet
