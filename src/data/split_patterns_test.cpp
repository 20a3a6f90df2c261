#include "data/split_patterns.h"

#include <gtest/gtest.h>

#include "core/errors.h"

namespace lorikeet {
namespace {

using Files = std::vector<std::string>;

/// "train: a b; test: c"
std::string read(const Files& files) {
  std::string text;
  for (const auto& split : default_split_patterns(files)) {
    text += (text.empty() ? "" : "; ") + split.split + ":";
    for (const auto& path : files_of_split(files, split)) text += " " + path;
  }
  return text;
}

TEST(SplitPatterns, NumberedFilesComeFirst) {
  EXPECT_EQ(read({"data/extra-00000-of-00001.parquet", "data/test-00000-of-00001-0a1b.parquet",
                  "data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "train/a.png"}),
            "train: data/train-00000-of-00002.parquet data/train-00001-of-00002.parquet; "
            "test: data/test-00000-of-00001-0a1b.parquet; extra: data/extra-00000-of-00001.parquet");
}

TEST(SplitPatterns, FoldersComeBeforeNames) {
  EXPECT_EQ(read({"a/dev/x.png", "a/my_training_1/y.png", "test.png", "train.png"}),
            "train: a/my_training_1/y.png; validation: a/dev/x.png");
  EXPECT_EQ(read({"data/eval-2.csv", "data/my-train.csv", "data/strain.csv", "trainer.csv"}),
            "train: data/my-train.csv; test: data/eval-2.csv");
}

TEST(SplitPatterns, ElseEverythingIsTrain) {
  EXPECT_EQ(read({".gitattributes", "README.md", "a.png", "b/c.png"}), "train: a.png b/c.png");
  EXPECT_EQ(read({"README.md", ".gitattributes"}), "");
  EXPECT_EQ(read({}), "");
}

TEST(SplitPatterns, AFileThatMatchesTwiceComesTwice) {
  const SplitPatterns split{"train", {"b.png", "*.png"}};
  EXPECT_EQ(files_of_split({"a.png", "b.png"}, split), (Files{"b.png", "a.png", "b.png"}));
}

TEST(SplitPatterns, ReadsACardThatNamesEveryFile) {
  Files files;
  for (int i = 100'000; i < 150'000; ++i) files.push_back("a/" + std::to_string(i) + ".png");
  SplitPatterns split{"train", files};
  split.patterns[0].insert(0, "./");
  EXPECT_EQ(files_of_split(files, split), files);  // each for each would take minutes
}

TEST(SplitPatterns, MissesAFileThatIsNamed) {
  EXPECT_THROW(files_of_split({"a.png"}, {"train", {"b.png"}}), FileError);
  EXPECT_EQ(files_of_split({"a.png"}, {"train", {"b*.png"}}), Files());
}

}  // namespace
}  // namespace lorikeet
