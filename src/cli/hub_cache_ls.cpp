#include <algorithm>
#include <cmath>
#include <ctime>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/hub_cache_commands.h"
#include "cli/numbers.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/cache_scan.h"

namespace lorikeet {
namespace {

using Row = std::vector<std::string>;

/// One line of the list: a repository, or one of its revisions.
struct Entry {
  const CachedRepo* repo;
  const CachedRevision* revision;
  int64_t size() const { return revision ? revision->size : repo->size; }
  double modified() const { return revision ? revision->modified : repo->modified; }
  std::vector<std::string> refs() const { return revision ? revision->refs : repo->refs(); }
};

/// "3 days ago"
std::string age(double time) {
  const double seconds = static_cast<double>(std::time(nullptr)) - time;
  struct Unit {
    const char* name;
    double seconds, most;
  };
  constexpr Unit kUnits[] = {{"second", 1, 59},           {"minute", 60, 59},  {"hour", 3600, 23},
                             {"day", 86400, 6},           {"week", 604800, 6}, {"month", 2592000, 11},
                             {"year", 31536000, HUGE_VAL}};
  if (seconds < 20) return "just now";
  for (const auto& unit : kUnits) {
    const double count = std::round(seconds / unit.seconds);
    if (count <= unit.most) return str(count, " ", unit.name, count == 1 ? "" : "s", " ago");
  }
  return "";
}

std::string joined(const std::vector<std::string>& refs) {
  std::string text;
  for (const auto& ref : refs) text += (text.empty() ? "" : " ") + ref;
  return text;
}

std::vector<Entry> entries_of(const CacheContents& contents, const HubCacheLsOptions& options) {
  std::vector<Entry> entries;
  for (const auto& repo : contents.repos) {
    if (!options.revisions) entries.push_back({&repo, nullptr});
    if (!options.revisions) continue;
    for (const auto& revision : repo.revisions) entries.push_back({&repo, &revision});
  }
  const auto later = [&](const Entry& a, const Entry& b) {
    if (options.sort == "size") return a.size() > b.size();
    if (options.sort == "modified") return a.modified() > b.modified();
    return options.sort == "accessed" && a.repo->accessed > b.repo->accessed;
  };
  std::stable_sort(entries.begin(), entries.end(), later);
  return entries;
}

void print_json(const std::vector<Entry>& entries) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& entry : entries) {
    nlohmann::ordered_json item = {
        {"id", entry.repo->name()}, {"repo_id", entry.repo->id}, {"repo_type", entry.repo->type}};
    if (entry.revision) {
      item["revision"] = entry.revision->commit;
      item["snapshot_path"] = entry.revision->folder.string();
      item["files"] = entry.revision->files.size();
    } else {
      item["revisions"] = entry.repo->revisions.size();
      item["last_accessed"] = entry.repo->accessed;
    }
    item["size"] = entry.size();
    item["last_modified"] = entry.modified();
    item["refs"] = entry.refs();
    list.push_back(std::move(item));
  }
  std::cout << list.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
}

void print_table(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows[0].size(), 0);
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  // Sizes are the column before times, and lie at its right.
  const auto is_size = [&](size_t column) { return rows[0][column] == "SIZE"; };
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string blanks(widths[i] - row[i].size(), ' ');
      line += is_size(i) ? blanks + row[i] : row[i] + blanks;
      if (i + 1 < row.size()) line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    std::cout << line << "\n";
  }
}

}  // namespace

OptionList fields(HubCacheLsOptions& o) {
  OptionList list;
  list.add("revisions", &o.revisions, "A line for every commit instead of one for the repository.");
  list.add("sort", &o.sort, "Largest or latest first, or by name.").choices({"name", "size", "accessed", "modified"});
  list.add("json", &o.json, "As JSON: sizes in bytes, times in seconds since 1970.");
  return list;
}

void hub_cache_ls(const HubCacheLsOptions& options) {
  HubCacheLsOptions copy = options;
  fields(copy).check();
  const auto contents = scan_cache();
  for (const auto& warning : contents.warnings) log_warning(warning);
  const auto entries = entries_of(contents, options);
  if (options.json) return print_json(entries);
  std::vector<Row> rows = {options.revisions ? Row{"ID", "REVISION", "SIZE", "LAST_MODIFIED", "REFS"}
                                             : Row{"ID", "SIZE", "LAST_ACCESSED", "LAST_MODIFIED", "REFS"}};
  size_t revisions = 0;
  for (const auto& entry : entries) {
    rows.push_back({entry.repo->name()});
    if (entry.revision) rows.back().push_back(entry.revision->commit);
    rows.back().push_back(disk_size(entry.size()));
    if (!entry.revision) rows.back().push_back(age(entry.repo->accessed));
    rows.back().push_back(age(entry.modified()));
    rows.back().push_back(joined(entry.refs()));
    revisions += entry.revision ? 1 : entry.repo->revisions.size();
  }
  if (!entries.empty()) print_table(rows);
  std::cout << str(contents.repos.size(), " repositories with ", revisions, " revisions, ", disk_size(contents.size),
                   " in ", contents.folder.string(), "\n");
  if (!contents.incomplete.empty()) {
    log_info(str(contents.incomplete.size(),
                 " downloads are under way or were left: `lorikeet hub cache prune` "
                 "removes those that were left"));
  }
}

}  // namespace lorikeet
