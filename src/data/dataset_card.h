// What a data set's card says of its configurations: `configs` in the metadata of its README.md.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/split_patterns.h"

namespace lorikeet {

/// One way to read a data set.
struct DatasetConfig {
  std::string name;
  std::string data_dir;                                  // patterns start here; empty: at the root
  std::optional<std::vector<SplitPatterns>> data_files;  // nothing: what the files themselves tell
  bool is_default = false;
};

/// The configurations of a README.md and, in their stead where it has some, of a `.huggingface.yaml`; empty without
/// any. Both texts come from strangers and may be empty. Throws FormatError for YAML that is none, `configs` of another
/// form, more than 4 MiB of it.
/// Source: datasets 5.2.0.
std::vector<DatasetConfig> dataset_configs(const std::string& readme, const std::string& yaml);

/// The configuration of that name; without a name the only one, else the default one; nullptr where there are none and
/// no name, or "default", is asked for. Throws UsageError naming those there are.
const DatasetConfig* choose_config(const std::vector<DatasetConfig>& configs, const std::optional<std::string>& name);

}  // namespace lorikeet
