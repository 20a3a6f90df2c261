// metadata.jsonl and metadata.csv: which picture has which captions.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/picture_dataset.h"

namespace lorikeet {

/// One row of a metadata file.
struct MetadataRow {
  std::string where;                  // "train/metadata.csv, line 12", for messages
  int64_t line = 0;                   // from 1
  std::string file_name;              // as it is written there
  std::vector<std::string> captions;  // empty when the row has none (null, an empty list, an empty CSV field)
};

/// `datasets` reads metadata from it; we do not yet, and say so.
inline constexpr const char* kMetadataParquet = "metadata.parquet";

/// Whether a file of this name (without folder) is a metadata file.
bool is_metadata_file(const std::string& base);

/// Reads a metadata file row by row and gives each to `take`; adds the names of its columns to `columns`.
/// `name` is its path relative to the data set's folder. A JSON line is one object; blank lines are passed over;
/// captions are a string or a list of strings. CSV as TextFile::next_record reads it, the first record naming the
/// columns. Throws FormatError with the line: a damaged row, captions of another type, a CSV record with more fields
/// than columns, no file name; UsageError when the file has rows but no column for the pictures or the captions (the
/// latter is accepted when `request` has a default caption and no other column looks like one).
void read_metadata_file(const DatasetRequest& request, const std::string& name,
                        const std::function<void(MetadataRow)>& take, std::vector<std::string>& columns);

/// The column that most likely holds captions; nothing when none stands out.
std::optional<std::string> likely_caption_column(const std::vector<std::string>& columns);

/// Throws UsageError: "--caption_column=text: SOURCE has the columns a, b", with the likely one in the hint.
[[noreturn]] void throw_no_caption_column(const std::string& caption_column, const std::string& source,
                                          const std::vector<std::string>& columns);

}  // namespace lorikeet
