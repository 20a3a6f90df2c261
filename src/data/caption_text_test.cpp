#include "data/caption_text.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/errors.h"
#include "data/data_test_support.h"

namespace lorikeet {
namespace {

TEST(CaptionText, CountsCharactersOfValidUtf8) {
  EXPECT_EQ(count_characters(""), 0);
  EXPECT_EQ(count_characters("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"), 4);
  for (const char* bad : {"\x80", "\xC0\xAF", "\xC3", "\xE0\x80\xAF", "\xED\xA0\x80", "\xF0\x80\x80\xAF",
                          "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "a\xFF", "\xE2\x82"}) {
    EXPECT_EQ(count_characters(bad), -1);
  }
}

std::string read(const std::string& bytes) {
  const TemporaryFolder folder;
  std::ofstream(folder / "a.txt", std::ios::binary) << bytes;
  return read_caption_file(folder / "a.txt", "a.txt");
}

TEST(CaptionText, IsTheFirstLineWithTextTrimmed) {
  EXPECT_EQ(read("a cat"), "a cat");
  EXPECT_EQ(read("\xEF\xBB\xBF\n \t\r\n  a cat, sitting \r\na dog\n"), "a cat, sitting");
  EXPECT_EQ(read(""), "");
  EXPECT_EQ(read(" \n\n"), "");
}

std::string refusal(const std::string& bytes) {
  try {
    read(bytes);
  } catch (const FormatError& error) {
    EXPECT_FALSE(error.hint().empty());
    return error.what();
  }
  return "";
}

TEST(CaptionText, RefusesWhatIsNoText) {
  EXPECT_NE(refusal("caf\xE9").find("a.txt: the caption is not UTF-8"), std::string::npos);
  EXPECT_NE(refusal(std::string("\xFF\xFE"
                                "a\0b\0",
                                6))
                .find("but UTF-16"),
            std::string::npos);
  EXPECT_EQ(refusal(std::string(kLongestCaption, 'x')), "");
  EXPECT_NE(refusal(std::string(kLongestCaption + 1, 'x')).find("100001 bytes"), std::string::npos);
  EXPECT_THROW(check_caption(std::string(kLongestCaption + 1, 'x'), "row"), FormatError);
  EXPECT_THROW(read_caption_file("/does/not/exist.txt", "exist.txt"), FileError);
}

}  // namespace
}  // namespace lorikeet
