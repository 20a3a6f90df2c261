#include "data/file_pattern.h"

#include <gtest/gtest.h>

#include "core/errors.h"

namespace lorikeet {
namespace {

bool matches(const std::string& pattern, const std::string& path) { return FilePattern(pattern).matches(path); }

TEST(FilePattern, StarStaysInsideAPart) {
  EXPECT_TRUE(matches("*.png", "a.png"));
  EXPECT_FALSE(matches("*.png", "x/a.png"));
  EXPECT_TRUE(matches("a*.png", "a.png"));
  EXPECT_TRUE(matches("data/*", "data/a"));
  EXPECT_FALSE(matches("data/*", "data/"));
  EXPECT_FALSE(matches("data/*", "data/x/a"));
  EXPECT_TRUE(matches("*/a*b*c", "x/aXbXbXc"));
  EXPECT_FALSE(matches("*/a*b*c", "x/aXbXbX"));
}

TEST(FilePattern, TwoStarsGoAcrossFolders) {
  EXPECT_TRUE(matches("**", "a.png"));
  EXPECT_TRUE(matches("**", "x/y/a.png"));
  EXPECT_TRUE(matches("**/a.png", "a.png"));
  EXPECT_TRUE(matches("**/a.png", "x/y/a.png"));
  EXPECT_FALSE(matches("**/a.png", "xa.png"));
  EXPECT_TRUE(matches("x/**/a.png", "x/a.png"));
  EXPECT_TRUE(matches("x/**/a.png", "x/y/z/a.png"));
  EXPECT_FALSE(matches("x/**/a.png", "xa.png"));
  EXPECT_TRUE(matches("x/**", "x/y/a"));
  EXPECT_FALSE(matches("x/**", "y/x"));
}

TEST(FilePattern, ReadsSetsAndSingleCharacters) {
  EXPECT_TRUE(matches("a?.png", "a1.png"));
  EXPECT_TRUE(matches("a?.png", "aä.png"));
  EXPECT_FALSE(matches("a?.png", "a12.png"));
  EXPECT_FALSE(matches("a?b", "a/b"));
  EXPECT_TRUE(matches("[a-c]x", "bx"));
  EXPECT_FALSE(matches("[a-c]x", "dx"));
  EXPECT_TRUE(matches("[!a-c]x", "dx"));
  EXPECT_FALSE(matches("[!a-c]x", "ax"));
  EXPECT_TRUE(matches("[]x]", "]"));
  EXPECT_FALSE(matches("[!]x]", "x"));
  EXPECT_TRUE(matches("[!]x]", "a"));
  EXPECT_TRUE(matches("a[b", "a[b"));
  EXPECT_TRUE(matches("[-._ 0-9]a", " a"));
  EXPECT_TRUE(matches("[-._ 0-9]a", "7a"));
  EXPECT_TRUE(matches("[日本]", "日"));
  EXPECT_FALSE(matches("[日本]", "a"));
}

TEST(FilePattern, TakesWhatIsHiddenOnlyWhenItIsNamed) {
  EXPECT_FALSE(matches("**", ".hidden.png"));
  EXPECT_FALSE(matches("**", ".folder/a.png"));
  EXPECT_TRUE(matches(".folder/*", ".folder/a.png"));
  EXPECT_FALSE(matches(".folder/*", ".folder/.b.png"));
  EXPECT_FALSE(matches("**", "__MACOSX/a.png"));
  EXPECT_TRUE(matches("__MACOSX/*", "__MACOSX/a.png"));
  EXPECT_TRUE(matches("**", "__a.png"));
  EXPECT_FALSE(matches("**", "README.md"));
  EXPECT_FALSE(matches("**", "x/dataset_infos.json"));
  EXPECT_TRUE(matches("x/config.json", "x/config.json"));
}

TEST(FilePattern, KnowsPathsFromPatterns) {
  EXPECT_TRUE(FilePattern("data/a.parquet").is_literal());
  EXPECT_FALSE(FilePattern("data/a?.parquet").is_literal());
  EXPECT_TRUE(matches("./data/a.parquet", "data/a.parquet"));
}

TEST(FilePattern, RefusesWhatLeavesTheDataSet) {
  for (const char* bad :
       {"", "/etc/*", "../*", "a/../../b", "https://host/a.parquet", "hf://datasets/o/n/a", "zip://a::b.zip"}) {
    EXPECT_THROW(FilePattern{bad}, FormatError) << bad;
  }
  EXPECT_THROW(FilePattern("a**"), FormatError);
  EXPECT_THROW(FilePattern("x/**.png"), FormatError);
  EXPECT_THROW(FilePattern(std::string(1001, 'a')), FormatError);
}

TEST(FilePattern, TakesNoTimeOverPatternsMadeForThat) {
  std::string pattern, path(900, 'a');
  for (int i = 0; i < 400; ++i) pattern += "*a";
  EXPECT_FALSE(matches(pattern + "*b", path));
  std::string folders, deep;
  for (int i = 0; i < 150; ++i) folders += "**/a/";
  for (int i = 0; i < 400; ++i) deep += "a/";
  EXPECT_FALSE(matches(folders + "b", deep + "c"));
}

}  // namespace
}  // namespace lorikeet
