#include "data/text_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

constexpr int kEnd = std::char_traits<char>::eof();
constexpr size_t kMostFields = 10'000;

bool is_blank(const std::vector<std::string>& fields) {
  return fields.size() == 1 && fields[0].find_first_not_of(" \t") == std::string::npos;
}

}  // namespace

TextFile::TextFile(const std::filesystem::path& file, std::string name)
    : stream_(file, std::ios::binary), name_(std::move(name)) {
  if (!stream_) throw FileError(str("cannot read ", name_, ": ", std::strerror(errno)));
  char mark[3] = {};
  stream_.read(mark, sizeof mark);
  if (stream_.gcount() != 3 || std::memcmp(mark, "\xEF\xBB\xBF", 3) != 0) {
    stream_.clear();
    stream_.seekg(0);
  }
}

std::string TextFile::where() const { return str(name_, ", line ", row_line_); }

int TextFile::peek_byte() { return stream_.rdbuf()->sgetc(); }

/// Counts lines, however they end.
int TextFile::next_byte() {
  const int byte = stream_.rdbuf()->sbumpc();
  if (byte == '\n' || (byte == '\r' && peek_byte() != '\n')) ++line_;
  return byte;
}

void TextFile::check_size(size_t bytes) const {
  if (bytes <= kLongestRow) return;
  throw FormatError(str(where(), ": longer than ", kLongestRow, " bytes"),
                    "each picture has a row of its own; look for a quote or line end that is missing");
}

std::optional<std::string> TextFile::next_line() {
  row_line_ = line_;
  if (peek_byte() == kEnd) return std::nullopt;
  std::string line;
  for (int byte = next_byte(); byte != kEnd && byte != '\n'; byte = next_byte()) {
    line += static_cast<char>(byte);
    check_size(line.size());
  }
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

/// The quote that opens it is read already, the one that closes it is read too.
void TextFile::read_quoted(std::string& field, size_t& bytes) {
  for (int byte = next_byte();; byte = next_byte()) {
    if (byte == kEnd) {
      throw FormatError(str(where(), ": a quote that opens there is never closed"),
                        "write a quote within a quoted field twice: \"\"");
    }
    if (byte == '"' && peek_byte() != '"') return;
    if (byte == '"') next_byte();
    field += static_cast<char>(byte);
    check_size(++bytes);
  }
}

std::optional<std::vector<std::string>> TextFile::next_record() {
  do {
    row_line_ = line_;
    if (peek_byte() == kEnd) return std::nullopt;
    std::vector<std::string> fields(1);
    size_t bytes = 0;
    bool quoted = false;
    for (int byte = next_byte(); byte != kEnd; byte = next_byte()) {
      if (byte == '\r' && peek_byte() == '\n') byte = next_byte();
      if (byte == '\n' || byte == '\r') break;
      if (byte == '"' && fields.back().empty() && !quoted) {
        quoted = true;
        read_quoted(fields.back(), bytes);
      } else if (byte == ',') {
        if (fields.size() == kMostFields) throw FormatError(str(where(), ": more than ", kMostFields, " fields"));
        fields.emplace_back();
        quoted = false;
      } else {
        fields.back() += static_cast<char>(byte);
      }
      check_size(++bytes);
    }
    if (quoted || !is_blank(fields)) return fields;
  } while (true);
}

}  // namespace lorikeet
