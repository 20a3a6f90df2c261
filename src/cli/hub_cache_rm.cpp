#include <unistd.h>

#include <iostream>

#include "cli/hub_cache_commands.h"
#include "cli/numbers.h"
#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/cache_removal.h"

namespace lorikeet {
namespace {

std::string counted(size_t count, const std::string& one, const std::string& many) {
  return str(count, " ", count == 1 ? one : many);
}

void list(const std::vector<CacheRemoval>& removals) {
  for (const auto& removal : removals) {
    if (removal.is_whole()) {
      std::cout << "  " << removal.repo->name() << " (all of it)\n";
      continue;
    }
    for (const auto* revision : removal.revisions) {
      std::string refs;
      for (const auto& ref : revision->refs) refs += (refs.empty() ? "" : " ") + ref;
      std::cout << "  " << removal.repo->name() << " " << revision->commit << " "
                << (refs.empty() ? "(detached)" : "(" + refs + ")") << "\n";
    }
  }
}

/// Whether to go on. Nobody is asked who cannot answer.
bool confirmed(bool yes) {
  if (yes) return true;
  if (::isatty(STDIN_FILENO) == 0) {
    throw UsageError("nothing was removed: there is nobody to ask", "--yes removes without asking");
  }
  std::cout << "Remove it? [y/N] " << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  if (answer == "y" || answer == "Y" || answer == "yes") return true;
  std::cout << "Nothing was removed.\n";
  return false;
}

size_t revisions_in(const std::vector<CacheRemoval>& removals) {
  size_t count = 0;
  for (const auto& removal : removals) count += removal.revisions.size();
  return count;
}

void add_removal_options(OptionList& list, bool& yes, bool& dry_run) {
  list.add("yes", &yes, "Do not ask.").short_name('y');
  list.add("dry_run", &dry_run, "Tell what would be removed, and remove nothing.");
}

}  // namespace

OptionList fields(HubCacheRmOptions& o) {
  OptionList list;
  list.group("Arguments");
  list.add("targets", &o.targets,
           "Repositories as `lorikeet hub cache ls` names them, model/owner/name or dataset/owner/name, and commits.")
      .required()
      .positional();
  list.group("How");
  add_removal_options(list, o.yes, o.dry_run);
  return list;
}

void hub_cache_rm(const HubCacheRmOptions& options) {
  HubCacheRmOptions copy = options;
  fields(copy).check();
  const auto contents = scan_cache();
  const auto removals = chosen_removals(contents, options.targets);
  std::cout << str("To be removed: ", counted(revisions_in(removals), "revision", "revisions"), ", ",
                   disk_size(bytes_freed_by(contents, removals)), "\n");
  list(removals);
  if (options.dry_run || !confirmed(options.yes)) return;
  std::cout << "Removed; " << disk_size(remove_from_cache(contents, removals)) << " are free again.\n";
}

OptionList fields(HubCachePruneOptions& o) {
  OptionList list;
  add_removal_options(list, o.yes, o.dry_run);
  return list;
}

void hub_cache_prune(const HubCachePruneOptions& options) {
  HubCachePruneOptions copy = options;
  fields(copy).check();
  const auto contents = scan_cache();
  const auto removals = detached_removals(contents);
  const auto leftovers = find_leftovers(contents);
  if (removals.empty() && leftovers.empty()) {
    std::cout << "There is nothing to remove: a branch or tag means every revision, and no download was left.\n";
    return;
  }
  std::cout << str("To be removed: ", counted(revisions_in(removals), "detached revision", "detached revisions"), ", ",
                   counted(leftovers.incomplete.size(), "download that was left", "downloads that were left"), ", ",
                   counted(leftovers.blobs.size() + leftovers.shared.size(), "unused blob", "unused blobs"), ", ",
                   disk_size(bytes_freed_by(contents, removals) + leftovers.size), "\n");
  list(removals);
  if (options.dry_run || !confirmed(options.yes)) return;
  const int64_t freed = remove_from_cache(contents, removals) + remove_leftovers(contents, leftovers);
  std::cout << "Removed; " << disk_size(freed) << " are free again.\n";
}

}  // namespace lorikeet
