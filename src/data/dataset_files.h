// Which files of a data set to read, and as what.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace lorikeet {

/// A data set's files, and what it says of itself.
struct DatasetContents {
  std::string name;                // for messages
  std::vector<std::string> files;  // relative paths, sorted by their bytes
  std::string readme, yaml;        // README.md and .huggingface.yaml; empty without
};

/// What a person asks of it.
struct DatasetChoice {
  std::optional<std::string> config_name = {};
  std::string data_dir = {};  // only below this folder, whatever the card says of files
  std::string split = "train";
};

enum class DatasetForm { kParquet, kPictures, kNeither };

struct DatasetSelection {
  std::vector<std::string> files;  // Parquet in the order of their rows; else pictures, metadata and caption files
  DatasetForm form = DatasetForm::kNeither;
};

/// The split's files as `datasets` picks them (dataset_card.h, split_patterns.h), and their form by the more common
/// ending; Parquet where both are as common. kNeither, with whatever the split holds, where there are none of either.
/// Beyond `datasets`, pictures with caption files beside them are taken.
/// Throws UsageError: no such configuration, split or folder, naming those there are. FormatError: a card that cannot
/// be understood. FileError: a file that the card names is not there.
DatasetSelection select_dataset_files(const DatasetContents& contents, const DatasetChoice& choice);

}  // namespace lorikeet
