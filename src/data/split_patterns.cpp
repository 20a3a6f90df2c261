#include "data/split_patterns.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <set>
#include <string_view>
#include <unordered_set>

#include "core/errors.h"
#include "core/text.h"
#include "data/file_pattern.h"
#include "data/folder_listing.h"

namespace lorikeet {
namespace {

constexpr const char* kShards = "-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]*.*";
constexpr const char* kBetween = "[-._ 0-9]";  // words

struct Keywords {
  const char* split;
  std::vector<std::string> words;
};

const std::vector<Keywords>& keywords() {
  static const std::vector<Keywords> kAll{{"train", {"train", "training"}},
                                          {"validation", {"validation", "valid", "dev", "val"}},
                                          {"test", {"test", "testing", "eval", "evaluation"}}};
  return kAll;
}

std::vector<std::string> folder_patterns(const std::string& word) {
  const std::string after = word + kBetween + "*", before = str("*", kBetween, word);
  return {"**/" + word + "/**", "**/" + after + "/**", "**/" + before + "/**", "**/" + before + kBetween + "*/**"};
}

std::vector<std::string> name_patterns(const std::string& word) {
  return {"**/" + word + kBetween + "*", str("**/*", kBetween, word, kBetween, "*")};
}

bool any_matches(const std::vector<std::string>& files, const std::string& pattern) {
  const FilePattern matcher(pattern);
  return std::any_of(files.begin(), files.end(), [&](const std::string& path) { return matcher.matches(path); });
}

/// Words joined by dots, as names of splits are.
bool is_split_name(const std::string& name) {
  if (name.empty() || name.front() == '.' || name.back() == '.' || name.find("..") != std::string::npos) return false;
  return std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '.' || c >= 0x80; });
}

/// "data/train-00000-of-00002.parquet" and the like: what stands before the numbers.
std::vector<SplitPatterns> sharded_patterns(const std::vector<std::string>& files) {
  const FilePattern matcher(str("data/*", kShards));
  std::set<std::string> names;
  for (const auto& path : files) {
    if (!matcher.matches(path)) continue;
    const std::string base = base_of(path);
    size_t at = base.rfind("-of-");
    while (at != std::string::npos && !FilePattern(kShards).matches(base.substr(at < 6 ? 0 : at - 6))) {
      at = at == 0 ? std::string::npos : base.rfind("-of-", at - 1);
    }
    const std::string name = at == std::string::npos || at < 6 ? "" : base.substr(0, at - 6);
    if (!is_split_name(name)) return {};
    names.insert(name);
  }
  std::vector<SplitPatterns> found;
  const auto take = [&](const std::string& name) { found.push_back({name, {str("data/", name, kShards)}}); };
  for (const auto& usual : keywords()) {
    if (names.erase(usual.split)) take(usual.split);
  }
  for (const auto& name : names) take(name);
  return found;
}

std::vector<SplitPatterns> keyword_patterns(const std::vector<std::string>& files,
                                            std::vector<std::string> (*patterns_of)(const std::string&)) {
  std::vector<SplitPatterns> found;
  for (const auto& [split, words] : keywords()) {
    SplitPatterns patterns{split, {}};
    for (const auto& word : words) {
      for (auto& pattern : patterns_of(word)) patterns.patterns.push_back(std::move(pattern));
    }
    const bool any = std::any_of(patterns.patterns.begin(), patterns.patterns.end(),
                                 [&](const std::string& pattern) { return any_matches(files, pattern); });
    if (any) found.push_back(std::move(patterns));
  }
  return found;
}

}  // namespace

std::vector<SplitPatterns> default_split_patterns(const std::vector<std::string>& files) {
  if (auto sharded = sharded_patterns(files); !sharded.empty()) return sharded;
  if (auto folders = keyword_patterns(files, folder_patterns); !folders.empty()) return folders;
  if (auto names = keyword_patterns(files, name_patterns); !names.empty()) return names;
  if (any_matches(files, "**")) return {{"train", {"**"}}};
  return {};
}

std::vector<std::string> files_of_split(const std::vector<std::string>& files, const SplitPatterns& split) {
  std::vector<std::string> found;
  std::unordered_set<std::string_view> known;  // cards may name a hundred thousand files one by one
  for (const auto& pattern : split.patterns) {
    const FilePattern matcher(pattern);
    const size_t before = found.size();
    if (matcher.is_literal()) {
      if (known.empty()) known.insert(files.begin(), files.end());
      std::string path = pattern;
      while (path.starts_with("./")) path.erase(0, 2);
      if (known.contains(path) && matcher.matches(path)) found.push_back(path);
    } else {
      std::copy_if(files.begin(), files.end(), std::back_inserter(found),
                   [&](const std::string& path) { return matcher.matches(path); });
    }
    if (matcher.is_literal() && found.size() == before) {
      throw FileError(str("the split ", split.split, " of the data set names the file ", pattern.substr(0, 200),
                          ", which it does not hold"));
    }
  }
  return found;
}

}  // namespace lorikeet
