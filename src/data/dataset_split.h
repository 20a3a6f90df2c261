// Which files of a data set belong to "train", "test" and other splits.
#pragma once

#include <string>
#include <vector>

#include "data/picture_dataset.h"

namespace lorikeet {

/// Paths of the asked split, and of the others with the split they belong to.
struct SplitFiles {
  std::vector<std::string> files;
  std::vector<SkippedFile> others;
};

/// "val" -> "validation", as `datasets` knows them; "" for a word that names no split.
std::string split_of_word(const std::string& word);

/// Files of a picture folder: by the first folder in their path, where some of those name splits (the header of
/// picture_dataset.h says when). `whole`: the folder itself holds pictures or a metadata file, so it is one split,
/// "train". Throws UsageError for a split that is not there, naming those that are.
SplitFiles choose_split(const std::vector<std::string>& files, const std::string& split, bool whole);

/// Parquet files: by names such as train-00000-of-00003.parquet or my-train.parquet, else by the first folder that
/// names a split, else "train". Throws UsageError for a split that is not there, naming those that are.
SplitFiles choose_parquet_split(const std::vector<std::string>& files, const std::string& split);

}  // namespace lorikeet
