#include "data/dataset_files.h"

#include <gtest/gtest.h>

#include "core/errors.h"

namespace lorikeet {
namespace {

std::string read(const DatasetContents& contents, const DatasetChoice& choice = {}) {
  const auto selection = select_dataset_files(contents, choice);
  std::string text = selection.form == DatasetForm::kParquet    ? "parquet:"
                     : selection.form == DatasetForm::kPictures ? "pictures:"
                                                                : "neither:";
  for (const auto& path : selection.files) text += " " + path;
  return text;
}

DatasetContents contents(std::vector<std::string> files, const std::string& yaml = "") {
  return {"owner/name", std::move(files), yaml.empty() ? "" : "---\n" + yaml + "---\n", ""};
}

TEST(DatasetFiles, KnowsTheFormByTheFiles) {
  EXPECT_EQ(read(contents({"a.png", "b.png", "metadata.jsonl", "x.safetensors"})),
            "pictures: a.png b.png metadata.jsonl");
  EXPECT_EQ(read(contents({"a.jpg", "a.txt", "b.jpg"})), "pictures: a.jpg a.txt b.jpg");
  EXPECT_EQ(read(contents({"a.parquet", "b.png"})), "parquet: a.parquet");
  EXPECT_EQ(read(contents({"a.png", "b.png", "metadata.parquet"})), "pictures: a.png b.png metadata.parquet");
  EXPECT_EQ(read(contents({"a.zip", "b.tar"})), "neither: a.zip b.tar");
  EXPECT_EQ(read(contents({})), "neither:");
}

TEST(DatasetFiles, FollowsTheCard) {
  const std::string yaml =
      "configs:\n- config_name: a\n  data_files:\n  - {split: train, path: [b/*.parquet, a.parquet]}\n"
      "- config_name: b\n  data_dir: b\n";
  const std::vector<std::string> files{"a.parquet", "b/1.parquet", "b/2.parquet"};
  EXPECT_EQ(read(contents(files, yaml), {.config_name = "a"}), "parquet: b/1.parquet b/2.parquet a.parquet");
  EXPECT_EQ(read(contents(files, yaml), {.config_name = "b"}), "parquet: b/1.parquet b/2.parquet");
  EXPECT_THROW(read(contents(files, yaml)), UsageError);
  EXPECT_EQ(read(contents(files, yaml), {.data_dir = "./b/"}), "parquet: b/1.parquet b/2.parquet");
}

TEST(DatasetFiles, NamesTheSplitsThereAre) {
  try {
    read(contents({"test/a.png", "val/b.png"}));
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(), "the data set owner/name has no split \"train\", it has: validation, test");
  }
  EXPECT_EQ(read(contents({"test/a.png", "val/b.png"}), {.split = "test"}), "pictures: test/a.png");
}

TEST(DatasetFiles, RefusesFoldersThatAreNotThere) {
  EXPECT_THROW(read(contents({"a.png"}), {.data_dir = "x"}), UsageError);
  EXPECT_THROW(read(contents({"a.png"}), {.data_dir = "../x"}), UsageError);
  EXPECT_THROW(read(contents({"a.png"}), {.data_dir = "/etc"}), UsageError);
  EXPECT_THROW(read(contents({"a.png"}, "configs: [{config_name: a, data_dir: ../b}]\n")), UsageError);
}

}  // namespace
}  // namespace lorikeet
