#include "hub/fetch_dataset.h"

#include <algorithm>
#include <set>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/asked_name.h"
#include "hub/cache.h"
#include "hub/cache_writer.h"
#include "hub/snapshot.h"
#include "hub/token.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

using Chooser = std::function<std::vector<std::string>(const RepoContents&)>;

constexpr size_t kMostText = 16 << 20;

/// What the cache has of it; nothing when that is nothing.
std::optional<fs::path> from_cache(const HubRepo& repo, const std::string& revision, const Chooser& choose) {
  const CacheRepo cache(repo);
  const auto commit = cache.commit_of(revision);
  if (!commit) return std::nullopt;
  const fs::path folder = cache.snapshot(*commit);
  RepoContents contents{*commit, {}, [&](const std::string& path) {
                          const auto file = cache.find(*commit, path);
                          return file ? read_file(*file, kMostText) : "";
                        }};
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->is_regular_file(ignored)) contents.paths.push_back(it->path().lexically_relative(folder).string());
  }
  if (contents.paths.empty()) return std::nullopt;
  std::sort(contents.paths.begin(), contents.paths.end());
  choose(contents);
  return folder;
}

fs::path from_hub(HubClient& client, const HubRepo& repo, const std::string& revision, const Chooser& choose) {
  const auto info = repo_info(client, repo, revision);
  const auto files = list_files(client, repo, info.sha);
  RepoContents contents{info.sha, {}, {}};
  for (const auto& file : files) contents.paths.push_back(file.path);
  std::sort(contents.paths.begin(), contents.paths.end());
  contents.read = [&](const std::string& path) -> std::string {
    if (!std::binary_search(contents.paths.begin(), contents.paths.end(), path)) return "";
    return read_file(download_file(client, repo, info.sha, path), kMostText);
  };
  const auto chosen = choose(contents);
  const std::set<std::string> wanted(chosen.begin(), chosen.end());
  std::vector<RepoFile> fetched;
  for (const auto& file : files) {
    if (wanted.contains(file.path)) fetched.push_back(file);
  }
  if (fetched.empty()) return CacheRepo(repo).snapshot(info.sha);
  log_info(str("fetching ", repo_text(repo), " (", fetched.size(), fetched.size() == 1 ? " file" : " files",
               ", commit ", info.sha.substr(0, 8), ")"));
  return download_files(client, repo, revision, info.sha, fetched);
}

}  // namespace

fs::path fetch_dataset(const std::string& id, const std::string& revision, const Chooser& choose) {
  const HubRepo repo{id, RepoType::kDataset};
  if (hub_is_offline()) {
    if (const auto cached = from_cache(repo, revision, choose)) return *cached;
    throw HubError(
        str("\"", id, "\" is no folder here, and the data set is not in the cache ", hub_cache_folder().string(),
            " (revision ", revision, ")"),
        str("HF_HUB_OFFLINE is set; `lorikeet hub download ", id, " --repo-type=dataset` fetches it without"));
  }
  return asking_for(id, [&]() -> fs::path {
    auto client = HubClient::for_downloads(hub_token());
    try {
      return from_hub(client, repo, revision, choose);
    } catch (const ConnectionError& error) {
      const auto cached = from_cache(repo, revision, choose);
      if (!cached) throw;
      log_warning(str(error.what(), "; going on with ", cached->string()));
      return *cached;
    }
  });
}

}  // namespace lorikeet
