// Parquet data sets, as Hugging Face datasets writes them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/picture_record.h"

namespace lorikeet {

struct ParquetColumns {
  std::string image = "image", caption = "text";
  bool may_name_files = true;  // else a row without bytes is an error, too
};

/// All rows of `files`, in order. The encoded pictures are copied once into one file in `cache_dir`, which the records
/// point into; the next call with the same files (path, size, time of change) and columns reads only that file's index.
///
/// Pictures are struct<bytes, path> or binary, captions text or lists of text. A row without bytes stands for the file
/// that its path names, from the Parquet file's folder where it is not absolute. Row numbers in names count from 0.
/// `progress` (may be empty) is told after each row how many of all rows are done; not called when the copy is there.
/// Throws FileError (no files, unreadable, no plugin, disk full, a file changed meanwhile), UsageError (wrong columns,
/// naming the right ones), FormatError (damaged file, a row without picture or caption naming file and row),
/// Interrupted.
std::vector<PictureRecord> read_parquet_records(const std::vector<std::filesystem::path>& files,
                                                const ParquetColumns& columns, const std::filesystem::path& cache_dir,
                                                const std::function<void(int64_t done, int64_t total)>& progress);

}  // namespace lorikeet
