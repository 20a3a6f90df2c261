// Which files of a data set are which split, where nobody said so and where its card does.
#pragma once

#include <string>
#include <vector>

namespace lorikeet {

/// The patterns (file_pattern.h) of one split's files.
struct SplitPatterns {
  std::string split;
  std::vector<std::string> patterns;
};

/// What a data set's files themselves tell, the first of these that finds any: data/SPLIT-00000-of-00001.*; folders,
/// then files, with train, training, validation, valid, dev, val, test, testing, eval or evaluation as a word of their
/// name; else everything is "train". Empty for no files. `files` are relative paths, sorted.
/// Source: datasets 5.2.0.
std::vector<SplitPatterns> default_split_patterns(const std::vector<std::string>& files);

/// The files that match: for one pattern after another, each in the order of `files`; a file that matches two comes
/// twice, as in `datasets`. Throws FormatError for a pattern that is none, FileError for a path without wildcards that
/// is not there.
std::vector<std::string> files_of_split(const std::vector<std::string>& files, const SplitPatterns& split);

}  // namespace lorikeet
