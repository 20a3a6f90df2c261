// A pattern that picks files of a data set, as Hugging Face datasets reads it.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace lorikeet {

/// `*` is any name or part of one, `?` one character, `[a-z]` and `[!a]` one of a set, `**` between slashes any number
/// of folders and at the end all that is below. Paths are relative, with `/` between their parts.
/// Hidden files and folders, folders beginning with "__", and files that describe a data set (README.md, config.json,
/// dataset_infos.json ...) match only where the pattern names such a part itself.
/// Matching takes time proportional to the lengths of both: patterns come from strangers.
/// Source: datasets 5.2.0 with fsspec's globbing.
class FilePattern {
 public:
  /// Throws FormatError for an empty pattern, one that leaves the data set (a URL, an absolute path, `..`), one longer
  /// than 1000 bytes, and one with `**` beside other characters.
  explicit FilePattern(const std::string& pattern);

  bool matches(const std::string& path) const;
  /// Whether it can match one path only.
  bool is_literal() const { return is_literal_; }

 private:
  enum class Kind { kOne, kSome, kAll, kFolders, kInFolders };
  struct Token {
    Kind kind = Kind::kOne;
    std::vector<std::pair<char32_t, char32_t>> set;  // of kOne: ranges
    bool negated = false;                            // of kOne: any character but these
    bool accepts(char32_t c) const;
  };
  void add_part(const std::string& part, bool is_last);
  size_t add_set(const std::u32string& part, size_t at);
  std::string longest_literal() const;
  bool matches_text(const std::string& path) const;

  std::vector<Token> tokens_;
  std::string literal_;  // in every path that matches: a quick no for most
  std::string base_;
  size_t hidden_ = 0, special_ = 0;
  bool is_literal_ = true;
};

}  // namespace lorikeet
