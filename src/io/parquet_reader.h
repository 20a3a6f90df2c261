// Parquet files of pictures and captions, row by row. Arrow is loaded with the first file, from a library of its own:
// the program links without it and runs without it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "io/parquet_plugin.h"

namespace lorikeet {

class ParquetFile {
 public:
  /// Throws FileError when the file cannot be read or liblorikeet_parquet.so (looked for beside the program) cannot be
  /// loaded, FormatError when this is no Parquet file, or a damaged one.
  explicit ParquetFile(const std::filesystem::path& path);
  ~ParquetFile();
  ParquetFile(ParquetFile&&) noexcept;
  ParquetFile& operator=(ParquetFile&&) noexcept;

  const std::vector<ParquetColumn>& columns() const;
  int64_t rows() const;

  /// Chooses what `next` reads, from the first row on. Throws UsageError naming the columns there are: no such column,
  /// or one of another type; the hint has the flag with the right one. Throws FormatError for a damaged file.
  void select(const std::string& picture_column, const std::string& caption_column);
  /// Bytes of all pictures, before compression.
  int64_t picture_bytes() const;
  /// Reads the next row into `row`, whose views are valid until the next call; false after the last. Memory goes by the
  /// largest page (three times it where packed), never by the file. Throws FormatError.
  bool next(ParquetRow& row);

 private:
  [[noreturn]] void fail() const;

  std::filesystem::path path_;
  std::unique_ptr<ParquetSource> source_;
};

}  // namespace lorikeet
