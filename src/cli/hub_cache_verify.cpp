#include <iostream>
#include <memory>

#include "cli/hub_cache_commands.h"
#include "core/errors.h"
#include "core/progress.h"
#include "core/text.h"
#include "hub/cache_removal.h"
#include "hub/cache_verify.h"

namespace lorikeet {
namespace {

constexpr int64_t kMegabyte = 1'000'000;

std::string times(int64_t count) { return str(count, count == 1 ? " file" : " files"); }

/// The same names as for `rm`; without any all that is there.
std::vector<std::pair<const CachedRepo*, const CachedRevision*>> chosen(const CacheContents& contents,
                                                                        const std::optional<TextList>& targets) {
  std::vector<std::pair<const CachedRepo*, const CachedRevision*>> revisions;
  if (targets) {
    for (const auto& choice : chosen_removals(contents, *targets)) {
      for (const auto* revision : choice.revisions) revisions.emplace_back(choice.repo, revision);
    }
    return revisions;
  }
  for (const auto& repo : contents.repos) {
    for (const auto& revision : repo.revisions) revisions.emplace_back(&repo, &revision);
  }
  return revisions;
}

}  // namespace

OptionList fields(HubCacheVerifyOptions& o) {
  OptionList list;
  list.group("Arguments");
  list.add("targets", &o.targets, "Repositories, model/owner/name or dataset/owner/name, and commits (default: all).")
      .positional();
  return list;
}

void hub_cache_verify(const HubCacheVerifyOptions& options) {
  const auto contents = scan_cache();
  const auto revisions = chosen(contents, options.targets);
  int64_t total = 0;
  for (const auto& [repo, revision] : revisions) total += revision->size;
  std::unique_ptr<ProgressBar> bar;
  if (total >= 100 * kMegabyte) {
    bar = std::make_unique<ProgressBar>("Reading", total / kMegabyte, 0, ProgressOutput::standard_error(), "MB");
  }
  const auto verdict = verify_cached(revisions, [&](int64_t done) {
    if (bar) bar->update(done / kMegabyte);
  });
  bar.reset();
  std::cout << times(verdict.files) << " are what the Hub promised"
            << (verdict.unchecked > 0 ? str("; of ", times(verdict.unchecked), " that is not known") : "") << "\n";
  if (verdict.problems.empty()) return;
  for (const auto& problem : verdict.problems) {
    std::cout << str(problem.repo, " ", problem.commit, " ", problem.path, ": ", problem.what, "\n");
  }
  throw HubError(str(times(static_cast<int64_t>(verdict.problems.size())), " of the cache are not right"),
                 "`lorikeet hub download ID --force_download` fetches them again");
}

}  // namespace lorikeet
