// A data set by its name: a folder here, or an id on the Hub whose files are fetched.
#pragma once

#include <filesystem>
#include <string>

#include "data/dataset_files.h"

namespace lorikeet {

struct NamedDataset {
  std::filesystem::path folder = {};
  bool is_fetched = false;          // from the Hub
  DatasetSelection selection = {};  // its files, by their paths in the folder
};

/// An existing folder is itself, read as its card says; anything else is a Hub id. Of a repository only what `choice`
/// needs is fetched, into the cache. Where it holds nothing that can be read, or a script, the Parquet files that the
/// Hub made of it (refs/convert/parquet) stand in, with a line in the log.
/// Throws as select_dataset_files and fetch_dataset (hub/fetch_dataset.h) do; FileError where neither revision holds
/// pictures or Parquet files.
NamedDataset find_dataset(const std::string& name, const DatasetChoice& choice);

}  // namespace lorikeet
