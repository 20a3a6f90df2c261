// Text files read row by row: lines of JSON, records of CSV.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

namespace lorikeet {

constexpr size_t kLongestRow = size_t{1} << 20;  // bytes of a line or record

/// Rows of a text file, without its byte order mark; never more than one of them is in memory.
class TextFile {
 public:
  /// `name` is for messages. Throws FileError.
  TextFile(const std::filesystem::path& file, std::string name);

  /// The next line without its "\n" or "\r\n"; nothing behind the last. Throws FormatError beyond kLongestRow,
  /// FileError.
  std::optional<std::string> next_line();
  /// The next record of CSV (RFC 4180: quoted fields may hold commas, doubled quotes and line ends; "\r" and "\n" end a
  /// record too), as its fields; blank lines are passed over. Throws FormatError: a quote that never ends, a record
  /// beyond kLongestRow; FileError.
  std::optional<std::vector<std::string>> next_record();

  /// Where the row given last began, from 1.
  int64_t line() const { return row_line_; }
  /// "metadata.csv, line 12"
  std::string where() const;

 private:
  int next_byte();
  int peek_byte();
  void check_size(size_t bytes) const;
  void read_quoted(std::string& field, size_t& bytes);

  std::ifstream stream_;
  std::string name_;
  int64_t line_ = 1, row_line_ = 0;
};

}  // namespace lorikeet
