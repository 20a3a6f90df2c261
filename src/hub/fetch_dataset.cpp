#include "hub/fetch_dataset.h"

#include <algorithm>
#include <set>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/listed.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/asked_name.h"
#include "hub/cache.h"
#include "hub/cache_writer.h"
#include "hub/snapshot.h"
#include "hub/token.h"
#include "hub/tree_cache.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

using Chooser = std::function<std::vector<std::string>(const RepoContents&)>;

constexpr size_t kMostText = 16 << 20;

struct Choice {
  std::vector<RepoFile> files;
  std::vector<std::string> missing;  // from the cache
};

Choice chosen_of(const CacheRepo& cache, const RepoListing& listing, const Chooser& choose,
                 const std::function<std::string(const std::string&)>& read) {
  RepoContents contents{listing.commit, {}, read};
  for (const auto& file : listing.files) contents.paths.push_back(file.path);
  std::sort(contents.paths.begin(), contents.paths.end());
  const auto chosen = choose(contents);
  const std::set<std::string> wanted(chosen.begin(), chosen.end());
  Choice choice;
  for (const auto& file : listing.files) {
    if (!wanted.contains(file.path)) continue;
    choice.files.push_back(file);
    if (!cache.find(listing.commit, file.path)) choice.missing.push_back(file.path);
  }
  return choice;
}

/// Throws HubError where the cache lacks a file that is chosen.
fs::path from_cache(const HubRepo& repo, const std::string& revision, const Chooser& choose) {
  const CacheRepo cache(repo);
  const auto listing = cached_revision(repo, revision);
  const auto choice = chosen_of(cache, listing, choose, [&](const std::string& path) {
    const auto file = cache.find(listing.commit, path);
    return file ? read_file(*file, kMostText) : std::string();
  });
  if (choice.missing.empty()) return cache.snapshot(listing.commit);
  throw HubError(str("the cache ", hub_cache_folder().string(), " holds the ", repo_text(repo),
                     " only in part: ", listed(choice.missing, 4), " missing"));
}

std::optional<fs::path> whole_in_cache(const HubRepo& repo, const std::string& revision, const Chooser& choose) {
  try {
    return from_cache(repo, revision, choose);
  } catch (const Error&) {
    return std::nullopt;
  }
}

fs::path from_hub(HubClient& client, const HubRepo& repo, const std::string& revision, const Chooser& choose) {
  const CacheRepo cache(repo);
  const auto listing = list_revision(client, repo, revision);
  const auto choice = chosen_of(cache, listing, choose, [&](const std::string& path) {
    const bool is_there = std::any_of(listing.files.begin(), listing.files.end(),
                                      [&](const RepoFile& file) { return file.path == path; });
    return is_there ? read_file(download_file(client, repo, listing.commit, path), kMostText) : std::string();
  });
  if (!choice.missing.empty()) {
    log_info(str("fetching ", repo_text(repo), " (", choice.missing.size(), " of its files, commit ",
                 listing.commit.substr(0, 8), ")"));
  }
  if (choice.files.empty()) return cache.snapshot(listing.commit);
  return download_files(client, repo, revision, listing.commit, choice.files);
}

}  // namespace

fs::path fetch_dataset(const std::string& id, const std::string& revision, const Chooser& choose) {
  const HubRepo repo{id, RepoType::kDataset};
  if (hub_is_offline()) return from_cache(repo, revision, choose);
  return asking_for(id, [&]() -> fs::path {
    auto client = HubClient::for_downloads(hub_token());
    try {
      return from_hub(client, repo, revision, choose);
    } catch (const ConnectionError& error) {
      const auto folder = whole_in_cache(repo, revision, choose);
      if (!folder) throw;
      log_warning(str(error.what(), "; going on with ", folder->string()));
      return *folder;
    }
  });
}

}  // namespace lorikeet
