#include "data/dataset_split.h"

#include <gtest/gtest.h>

#include "core/errors.h"

namespace lorikeet {
namespace {

using Paths = std::vector<std::string>;

TEST(DatasetSplit, IsTheFolderOfItsName) {
  const Paths files{"other/e.png", "test/c.png", "train/a.png", "training/b.png", "val/d.png"};
  const SplitFiles train = choose_split(files, "train", false);
  EXPECT_EQ(train.files, (Paths{"train/a.png", "training/b.png"}));
  ASSERT_EQ(train.others.size(), 3u);
  EXPECT_EQ(train.others[0].reason, "outside the folders of splits");
  EXPECT_EQ(train.others[1].reason, "of the split test");
  EXPECT_EQ(choose_split(files, "validation", false).files, Paths{"val/d.png"});
  EXPECT_EQ(choose_split(files, "val", false).files, Paths{"val/d.png"});
  EXPECT_EQ(choose_split(files, "train", true).files, files);
  EXPECT_EQ(choose_split({"x/train/a.png", "b.png"}, "train", false).files.size(), 2u) << "only the outermost folder";
}

TEST(DatasetSplit, ThatIsNotThereIsAnErrorNamingThoseThatAre) {
  const auto refusal = [](const Paths& files, const char* split, bool whole) -> std::string {
    try {
      choose_split(files, split, whole);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refusal({"test/a.png", "val/b.png"}, "train", false),
            "the data set has no split \"train\", it has: test, validation");
  EXPECT_EQ(refusal({"cats/a.png"}, "test", false), "the data set has no split \"test\", it has: train");
  EXPECT_EQ(refusal({"test/a.png"}, "test", true), "the data set has no split \"test\", it has: train");
}

TEST(DatasetSplit, OfParquetFilesIsInTheirNames) {
  const auto chosen = [](const Paths& files, const char* split) { return choose_parquet_split(files, split).files; };
  EXPECT_EQ(chosen({"data/test-00000-of-00001.parquet", "data/train-00000-of-00002-abc.parquet"}, "train"),
            Paths{"data/train-00000-of-00002-abc.parquet"});
  EXPECT_EQ(chosen({"data/extra_sft-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"}, "extra_sft"),
            Paths{"data/extra_sft-00000-of-00001.parquet"});
  EXPECT_EQ(chosen({"my-train.parquet", "my_test2.parquet"}, "test"), Paths{"my_test2.parquet"});
  EXPECT_EQ(chosen({"test/0000.parquet", "train/0000.parquet"}, "train"), Paths{"train/0000.parquet"});
  EXPECT_EQ(chosen({"a.parquet", "restrained.parquet"}, "train").size(), 2u);
  EXPECT_THROW(chosen({"a.parquet"}, "test"), UsageError);
  EXPECT_THROW(chosen({"test.parquet"}, "train"), UsageError);
  EXPECT_EQ(chosen({"a-1-of-2.parquet", "-of-.parquet", "x-00000-of-.parquet"}, "train").size(), 3u);
}

}  // namespace
}  // namespace lorikeet
