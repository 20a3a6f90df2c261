// What liblorikeet_parquet.so offers the program: no exception and no type of Arrow's crosses between them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lorikeet {

struct ParquetColumn {
  std::string name;
  std::string type;  // in Arrow's words: "struct<bytes: binary, path: string>"
  bool holds_pictures =
      false;  // encoded pictures: binary, or a struct with `bytes`, as Hugging Face datasets writes it
  bool holds_captions = false;  // text, or lists of texts
};

/// One row; views are valid until the next row is asked for.
struct ParquetRow {
  int64_t index = 0;                        // from 0, in the file
  std::optional<std::string_view> picture;  // encoded bytes; nothing where they are null
  std::string_view path;                    // that the picture came from; may be empty
  std::vector<std::string_view> captions;   // UTF-8; empty where the value is null or an empty list
  bool has_null_caption = false;            // a list with a null in it
};

/// One open Parquet file. After a `false` or kFailed, `problem()` says why, and nothing else may be called.
class ParquetSource {
 public:
  enum class Step { kRow, kEnd, kFailed };

  virtual ~ParquetSource() = default;
  virtual const std::vector<ParquetColumn>& columns() const noexcept = 0;
  virtual int64_t rows() const noexcept = 0;
  /// Chooses by index into `columns()`; the first must hold pictures, the second captions.
  virtual bool select(size_t picture, size_t caption) noexcept = 0;
  /// Bytes that all pictures of the selected column take, before compression, as the file's footer says.
  virtual int64_t picture_bytes() const noexcept = 0;
  virtual Step next(ParquetRow& row) noexcept = 0;
  virtual const std::string& problem() const noexcept = 0;
};

/// Opens `path`; null where that fails, with the reason in `problem`. The caller deletes.
using ParquetOpen = ParquetSource* (*)(const char* path, std::string& problem) noexcept;

/// The factory's name in the library; the number changes with anything above.
inline constexpr const char* kParquetOpenName = "lorikeet_parquet_open_1";

}  // namespace lorikeet
