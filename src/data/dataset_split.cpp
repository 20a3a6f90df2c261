#include "data/dataset_split.h"

#include <algorithm>
#include <map>
#include <set>

#include "core/errors.h"
#include "core/text.h"
#include "data/folder_listing.h"

namespace lorikeet {
namespace {

constexpr const char* kAnySplit = "train";

std::string canonical(const std::string& split) {
  const std::string known = split_of_word(split);
  return known.empty() ? split : known;
}

[[noreturn]] void throw_no_split(const std::string& split, const std::set<std::string>& found) {
  std::string names;
  for (const auto& name : found) names += (names.empty() ? "" : ", ") + name;
  throw UsageError(str("the data set has no split \"", split, "\", it has: ", names),
                   "ask for one of these splits, or give the folder of one as the data set");
}

/// "data-00000-of-00002" -> "data"; "" when the name is not of this kind.
std::string shard_prefix(const std::string& stem) {
  const size_t of = stem.rfind("-of-");
  if (of == std::string::npos || of < 6 || stem[of - 6] != '-') return "";
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const std::string count = stem.substr(of + 4);
  const bool numbered =
      std::all_of(stem.begin() + static_cast<int64_t>(of) - 5, stem.begin() + static_cast<int64_t>(of), is_digit) &&
      count.size() >= 5 && std::all_of(count.begin(), count.begin() + 5, is_digit);
  return numbered ? stem.substr(0, of - 6) : "";
}

/// The split that a word of the name says, words being what stands between - . _ blanks and digits.
std::string split_in(const std::string& name) {
  constexpr const char* kBetween = "-._ 0123456789";
  for (size_t start = 0; start < name.size();) {
    const size_t end = std::min(name.find_first_of(kBetween, start), name.size());
    const std::string known = split_of_word(name.substr(start, end - start));
    if (!known.empty()) return known;
    start = end + 1;
  }
  return "";
}

std::string parquet_split(const std::string& path) {
  const std::string base = base_of(path), stem = base.substr(0, base.rfind('.'));
  const std::string prefix = shard_prefix(stem);
  if (!prefix.empty()) return canonical(prefix);
  const std::string by_name = split_in(stem);
  if (!by_name.empty()) return by_name;
  for (std::string folder = folder_of(path); !folder.empty(); folder = folder_of(folder)) {
    const std::string by_folder = split_in(base_of(folder));
    if (!by_folder.empty()) return by_folder;
  }
  return "";
}

}  // namespace

std::string split_of_word(const std::string& word) {
  static const std::map<std::string, std::string> kWords{
      {"train", "train"},      {"training", "train"}, {"validation", "validation"},
      {"valid", "validation"}, {"val", "validation"}, {"dev", "validation"},
      {"test", "test"},        {"testing", "test"},   {"eval", "test"},
      {"evaluation", "test"},
  };
  const auto found = kWords.find(word);
  return found == kWords.end() ? "" : found->second;
}

SplitFiles choose_split(const std::vector<std::string>& files, const std::string& split, bool whole) {
  const std::string wanted = canonical(split);
  const auto split_of = [](const std::string& path) {
    const size_t slash = path.find('/');
    return slash == std::string::npos ? "" : split_of_word(path.substr(0, slash));
  };
  std::set<std::string> found;
  if (!whole) {
    for (const auto& path : files) found.insert(split_of(path));
    found.erase("");
  }
  if (found.empty() && wanted == kAnySplit) return {files, {}};
  if (found.empty()) throw_no_split(split, {kAnySplit});
  if (!found.contains(wanted)) throw_no_split(split, found);
  SplitFiles chosen;
  for (const auto& path : files) {
    const std::string belongs = split_of(path);
    if (belongs == wanted) {
      chosen.files.push_back(path);
    } else {
      chosen.others.push_back({path, belongs.empty() ? "outside the folders of splits" : "of the split " + belongs});
    }
  }
  return chosen;
}

SplitFiles choose_parquet_split(const std::vector<std::string>& files, const std::string& split) {
  const std::string wanted = canonical(split);
  std::set<std::string> found;
  for (const auto& path : files) found.insert(parquet_split(path));
  if (found == std::set<std::string>{""}) {
    if (wanted != kAnySplit) throw_no_split(split, {kAnySplit});
    return {files, {}};
  }
  found.erase("");
  if (!found.contains(wanted)) throw_no_split(split, found);
  SplitFiles chosen;
  for (const auto& path : files) {
    const std::string belongs = parquet_split(path);
    if (belongs == wanted) {
      chosen.files.push_back(path);
    } else {
      chosen.others.push_back({path, belongs.empty() ? "of no split" : "of the split " + belongs});
    }
  }
  return chosen;
}

}  // namespace lorikeet
