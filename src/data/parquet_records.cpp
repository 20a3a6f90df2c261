#include "data/parquet_records.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "core/digest.h"
#include "core/errors.h"
#include "core/interrupt.h"
#include "core/text.h"
#include "data/picture_spill.h"
#include "io/parquet_reader.h"

namespace lorikeet {
namespace {

/// What the copy was made from; another text means another copy.
std::string fingerprint(const std::vector<std::filesystem::path>& files, const ParquetColumns& columns) {
  std::string text = str("parquet 1 ", columns.image.size(), " ", columns.image, " ", columns.caption);
  for (const auto& file : files) {
    struct stat status {};
    if (::stat(file.c_str(), &status) != 0) {
      throw FileError(str("cannot read ", file.string(), ": ", std::strerror(errno)));
    }
    std::error_code error;
    const auto path = std::filesystem::weakly_canonical(file, error).string();
    text +=
        str("\n", path.size(), " ", path, " ", status.st_size, " ", status.st_mtim.tv_sec, " ", status.st_mtim.tv_nsec);
  }
  return sha256_hex(text).substr(0, 32);
}

struct Totals {
  int64_t rows = 0, picture_bytes = 0;
};

int64_t saturating_sum(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<int64_t>::max() - (int64_t{1} << 40) : sum;
}

/// Looks at every file's footer first: a wrong column is told before gigabytes are copied.
Totals measure(const std::vector<std::filesystem::path>& files, const ParquetColumns& columns) {
  Totals totals;
  for (const auto& path : files) {
    ParquetFile file(path);
    file.select(columns.image, columns.caption);
    totals.rows = saturating_sum(totals.rows, file.rows());
    totals.picture_bytes = saturating_sum(totals.picture_bytes, file.picture_bytes());
  }
  if (totals.rows == 0) {
    throw FormatError(str(files.front().string(), files.size() > 1 ? " and the other files hold" : " holds",
                          " no rows; expected at least one picture"));
  }
  return totals;
}

/// The file that a row without bytes names: Dataset.to_parquet writes pictures that were files as paths alone.
std::filesystem::path picture_file(const std::filesystem::path& parquet, const ParquetRow& row, const std::string& name,
                                   bool may_name_files) {
  constexpr const char* kHint =
      "Dataset.push_to_hub writes pictures into the file; so does Dataset.to_parquet after embed_table_storage";
  if (row.path.empty()) throw FormatError(str(name, " has no picture: its value is null"), kHint);
  if (!may_name_files) throw FormatError(str(name, " has no picture bytes, only a path"), kHint);
  const auto file = parquet.parent_path() / row.path;
  std::error_code error;
  // The system would read a path up to its first null byte only.
  if (row.path.find('\0') != std::string_view::npos || !std::filesystem::is_regular_file(file, error)) {
    std::string shown(row.path.substr(0, 200));
    std::replace_if(
        shown.begin(), shown.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
    throw FormatError(str(name, " has no picture bytes, only the path '", shown, "', where no file is"), kHint);
  }
  return std::filesystem::absolute(file);
}

void add_row(PictureSpill& spill, const std::filesystem::path& parquet, const ParquetRow& row,
             const ParquetColumns& columns) {
  PictureRecord record;
  record.name = str(parquet.filename().string(), " row ", row.index);
  const std::string where = str(parquet.string(), ": row ", row.index);
  if (row.captions.empty() || row.has_null_caption) {
    throw FormatError(str(where, " has ", row.has_null_caption ? "a null among its captions" : "no caption",
                          " in the column '", columns.caption, "'; expected text, or a list of at least one text"));
  }
  record.captions.assign(row.captions.begin(), row.captions.end());
  if (row.picture && row.picture->empty()) throw FormatError(str(where, " has a picture of 0 bytes"));
  if (row.picture) {
    spill.add(std::move(record), *row.picture);
  } else {
    record.file = picture_file(parquet, row, where, columns.may_name_files);
    spill.add(std::move(record));
  }
}

}  // namespace

std::vector<PictureRecord> read_parquet_records(const std::vector<std::filesystem::path>& files,
                                                const ParquetColumns& columns, const std::filesystem::path& cache_dir,
                                                const std::function<void(int64_t done, int64_t total)>& progress) {
  if (files.empty()) throw FileError("no Parquet files given; expected at least one");
  const std::string key = fingerprint(files, columns);
  PictureSpill spill(cache_dir, key);
  if (auto records = spill.load()) return std::move(*records);
  const Totals totals = measure(files, columns);
  spill.begin(totals.picture_bytes);
  int64_t done = 0;
  for (const auto& path : files) {
    ParquetFile file(path);
    file.select(columns.image, columns.caption);
    for (ParquetRow row; file.next(row);) {
      stop_if_requested();
      add_row(spill, path, row, columns);
      if (progress) progress(++done, totals.rows);
    }
  }
  if (fingerprint(files, columns) != key) {
    throw FileError(
        str(files.front().string(), files.size() > 1 ? " or one of the other files" : "", " changed while it was read"),
        "start again once it is complete");
  }
  return spill.commit();
}

}  // namespace lorikeet
