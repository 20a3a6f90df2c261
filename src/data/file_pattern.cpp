#include "data/file_pattern.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "core/errors.h"
#include "core/text.h"
#include "data/folder_listing.h"

namespace lorikeet {
namespace {

constexpr size_t kMostBytes = 1000;

/// UTF-8 to characters; a byte that belongs to none becomes one of its own.
std::u32string characters(const std::string& text) {
  std::u32string found;
  for (size_t i = 0; i < text.size();) {
    const auto first = static_cast<unsigned char>(text[i]);
    const size_t length = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
    char32_t character = length == 1 ? first : first & (0xffU >> (length + 1));
    size_t used = 1;
    while (used < length && i + used < text.size() && (static_cast<unsigned char>(text[i + used]) & 0xc0) == 0x80) {
      character = character << 6 | (static_cast<unsigned char>(text[i + used]) & 0x3f);
      ++used;
    }
    found += used == length ? character : first;
    i += used == length ? length : 1;
  }
  return found;
}

std::vector<std::string> parts_of(const std::string& path) {
  std::vector<std::string> parts;
  std::istringstream in(path);
  for (std::string part; std::getline(in, part, '/');) parts.push_back(part);
  if (path.ends_with('/')) parts.emplace_back();
  return parts;
}

bool is_hidden(const std::string& part) {
  return part.starts_with('.') && part.find_first_not_of('.') != std::string::npos;
}

struct Marks {
  size_t hidden = 0, special = 0;
};

Marks marks_of(const std::vector<std::string>& parts) {
  Marks marks;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (is_hidden(parts[i])) ++marks.hidden;
    if (i + 1 < parts.size() && parts[i].starts_with("__")) ++marks.special;
  }
  return marks;
}

/// What describes a data set is no part of it.
bool is_description(const std::string& base) {
  static const std::set<std::string> kNames{"README.md",          "config.json",    "dataset_info.json",
                                            "dataset_infos.json", "dummy_data.zip", "dataset_dict.json"};
  return kNames.contains(base);
}

}  // namespace

bool FilePattern::Token::accepts(char32_t c) const {
  const bool inside =
      std::any_of(set.begin(), set.end(), [&](const auto& range) { return range.first <= c && c <= range.second; });
  return inside != negated;
}

FilePattern::FilePattern(const std::string& pattern) {
  std::string text = pattern;
  while (text.starts_with("./")) text.erase(0, 2);
  const auto parts = parts_of(text);
  if (text.empty() || text.size() > kMostBytes || text.starts_with('/') || text.find("://") != std::string::npos ||
      text.find("::") != std::string::npos || std::find(parts.begin(), parts.end(), "..") != parts.end()) {
    throw FormatError(str("the pattern \"", text.substr(0, 200), "\" picks no files of the data set: expected a path ",
                          "relative to it, such as data/train-*.parquet"));
  }
  for (size_t i = 0; i < parts.size(); ++i) add_part(parts[i], i + 1 == parts.size());
  is_literal_ = text.find_first_of("*?[") == std::string::npos;
  literal_ = longest_literal();
  base_ = base_of(text);
  const Marks marks = marks_of(parts);
  hidden_ = marks.hidden;
  special_ = marks.special;
}

void FilePattern::add_part(const std::string& part, bool is_last) {
  const Token any_but_slash{Kind::kOne, {{U'/', U'/'}}, true};
  const Token slash{Kind::kOne, {{U'/', U'/'}}, false};
  if (part == "**") {
    if (is_last) {
      tokens_.push_back({Kind::kAll, {}, false});
    } else {
      tokens_.push_back({Kind::kFolders, {}, false});
      tokens_.push_back({Kind::kInFolders, {}, false});
    }
    return;
  }
  if (part.find("**") != std::string::npos) {
    throw FormatError(str("the pattern part \"", part, "\" has ** beside other characters: it stands between slashes"));
  }
  if (part == "*") tokens_.push_back(any_but_slash);  // alone it is at least one character
  const auto text = characters(part);
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == U'*') {
      tokens_.push_back({Kind::kSome, {}, false});
    } else if (text[i] == U'?') {
      tokens_.push_back(any_but_slash);
    } else if (text[i] == U'[') {
      i = add_set(text, i);
    } else {
      tokens_.push_back({Kind::kOne, {{text[i], text[i]}}, false});
    }
  }
  if (!is_last) tokens_.push_back(slash);
}

/// Adds the set that begins at `at`, and returns where it ends; a [ without ] is that character.
size_t FilePattern::add_set(const std::u32string& part, size_t at) {
  size_t first = at + 1;
  const bool negated = first < part.size() && part[first] == U'!';
  if (negated) ++first;
  const size_t close = part.find(U']', first + 1);
  if (first >= part.size() || close == std::u32string::npos) {
    tokens_.push_back({Kind::kOne, {{U'[', U'['}}, false});
    return at;
  }
  Token token{Kind::kOne, {}, negated};
  for (size_t i = first; i < close; ++i) {
    if (i + 2 < close && part[i + 1] == U'-') {
      if (part[i] <= part[i + 2]) token.set.emplace_back(part[i], part[i + 2]);
      i += 2;
    } else {
      token.set.emplace_back(part[i], part[i]);
    }
  }
  tokens_.push_back(token);
  return close;
}

std::string FilePattern::longest_literal() const {
  std::string longest, run;
  for (const auto& token : tokens_) {
    const bool is_plain = token.kind == Kind::kOne && !token.negated && token.set.size() == 1 &&
                          token.set[0].first == token.set[0].second && token.set[0].first < 0x80;
    if (is_plain) run += static_cast<char>(token.set[0].first);
    if (run.size() > longest.size()) longest = run;
    if (!is_plain) run.clear();
  }
  return longest;
}

bool FilePattern::matches(const std::string& path) const {
  if (path.find(literal_) == std::string::npos) return false;
  const std::string base = base_of(path);
  if (is_description(base) && base != base_) return false;
  const Marks marks = marks_of(parts_of(path));
  return marks.hidden == hidden_ && marks.special == special_ && matches_text(path);
}

/// All ways through the tokens at once.
bool FilePattern::matches_text(const std::string& path) const {
  std::vector<char> now(tokens_.size() + 2, 0), next(tokens_.size() + 2, 0);
  const auto enter = [&](std::vector<char>& states, size_t at) {
    for (states[at] = 1; at < tokens_.size(); states[at] = 1) {
      const Kind kind = tokens_[at].kind;
      if (kind != Kind::kSome && kind != Kind::kAll && kind != Kind::kFolders) return;
      at += kind == Kind::kFolders ? 2 : 1;  // these match nothing, too
    }
  };
  enter(now, 0);
  for (const char32_t c : characters(path)) {
    std::fill(next.begin(), next.end(), 0);
    for (size_t i = 0; i < tokens_.size(); ++i) {
      if (!now[i]) continue;
      switch (tokens_[i].kind) {
        case Kind::kOne:
          if (tokens_[i].accepts(c)) enter(next, i + 1);
          break;
        case Kind::kSome:
          if (c != U'/') enter(next, i);
          break;
        case Kind::kAll:
          enter(next, i);
          break;
        case Kind::kFolders:
          next[i + 1] = 1;
          break;
        case Kind::kInFolders:
          next[i] = 1;
          if (c == U'/') enter(next, i + 1);
          break;
      }
    }
    std::swap(now, next);
  }
  return now[tokens_.size()] != 0;
}

}  // namespace lorikeet
