#include "hub/cache_removal.h"

#include <algorithm>
#include <map>
#include <memory>

#include "core/errors.h"
#include "core/interrupt.h"
#include "core/listed.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/cache_writer.h"
#include "hub/file_lock.h"
#include "hub/shared_blobs.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

constexpr size_t kBatch = 64;  // blobs that are locked at once

bool is_link(const fs::path& path) {
  std::error_code ignored;
  return fs::is_symlink(fs::symlink_status(path, ignored));
}

bool is_blob_of(const CachedRepo& repo, const fs::path& path) { return path.parent_path() == repo.folder / "blobs"; }

fs::path locks_of(const CacheContents& contents, const CachedRepo& repo) {
  return contents.folder / ".locks" / repo.folder.filename();
}

/// The lock a download holds while it writes this: ETAG.lock, for ETAG.1a2b3c4d.incomplete too.
fs::path lock_of(const CacheContents& contents, const CachedRepo& repo, const fs::path& blob) {
  std::string etag = blob.filename();
  if (blob.extension() == ".incomplete") {
    etag = blob.stem();
    if (const size_t dot = etag.rfind('.'); dot != std::string::npos && etag.size() - dot == 9) etag.resize(dot);
  }
  return locks_of(contents, repo) / (etag + ".lock");
}

/// Without making a lock where there was none.
bool is_busy(const fs::path& lock) {
  std::error_code ignored;
  return fs::is_regular_file(fs::symlink_status(lock, ignored)) && !FileLock::try_lock(lock);
}

void require_idle(const CacheContents& contents, const CachedRepo& repo) {
  for (const char* part : {"", "refs", "snapshots", "blobs", "trees", ".no_exist"}) {
    const fs::path folder = *part == '\0' ? repo.folder : repo.folder / part;
    if (!is_link(folder)) continue;
    throw HubError(str("nothing of ", repo.name(), " is removed: ", folder.string(), " is a link to ",
                       link_target(folder).string()),
                   "what lies there may belong to somebody else: remove it and the link by hand");
  }
  for (const auto& lock : folder_entries(locks_of(contents, repo))) {
    if (lock.extension() != ".lock" || !is_busy(lock)) continue;
    throw HubError(str("a download of ", repo.name(), " is under way"), "try again when it is done");
  }
}

void remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);  // of a link: the link
  if (error) throw FileError(str("cannot remove ", path.string(), ": ", error.message()));
}

/// The folder too, and those it is in, as far as they are empty.
void remove_empty(fs::path folder, const fs::path& last) {
  std::error_code error;
  for (; fs::is_empty(folder, error) && !error; folder = folder.parent_path()) {
    fs::remove(folder, error);
    if (error || folder == last) return;
  }
}

std::set<fs::path> used_blobs(const CachedRepo& repo) {
  std::set<fs::path> used;
  for (const auto& snapshot : folder_entries(repo.folder / "snapshots")) {
    for (const auto& file : snapshot_files(snapshot)) used.insert(file.blob);
  }
  return used;
}

/// Removes files of `blobs/` that no snapshot uses. A download holds the lock until it has put its link into place, so
/// that what is not used under the lock is not about to be.
int64_t remove_unused(const CacheContents& contents, const CachedRepo& repo, const std::vector<fs::path>& blobs) {
  const SharedBlobs shared(contents.folder);
  int64_t freed = 0;
  for (size_t start = 0; start < blobs.size(); start += kBatch) {
    stop_if_requested();
    std::map<fs::path, std::unique_ptr<FileLock>> locks;  // several files may have one
    std::vector<fs::path> idle;
    for (size_t i = start; i < std::min(start + kBatch, blobs.size()); ++i) {
      auto& lock = locks[lock_of(contents, repo, blobs[i])];
      if (!lock) lock = FileLock::try_lock(lock_of(contents, repo, blobs[i]));
      if (lock) idle.push_back(blobs[i]);
    }
    const auto used = used_blobs(repo);
    for (const auto& blob : idle) {
      if (used.contains(blob)) continue;
      std::error_code error;
      const auto size = is_link(blob) ? 0 : fs::file_size(blob, error);
      const auto payload = shared.target_of(blob);
      if (error || !fs::remove(blob, error)) continue;
      freed += static_cast<int64_t>(size);
      if (payload) freed += shared.sweep(*payload);
    }
  }
  return freed;
}

int64_t remove_snapshot(const CachedRepo& repo, const CachedRevision& revision) {
  // A branch that means a commit of which half is gone would be worse than none.
  for (const auto& ref : revision.refs) {
    remove_tree(repo.folder / "refs" / ref);
    remove_empty((repo.folder / "refs" / ref).parent_path(), repo.folder / "refs");
  }
  int64_t freed = 0;
  for (const auto& file : revision.files) {
    if (file.blob == file.place) freed += file.size;
  }
  remove_tree(revision.folder);
  remove_tree(repo.folder / "trees" / (revision.commit + ".json"));
  remove_tree(repo.folder / ".no_exist" / revision.commit);
  return freed;
}

int64_t remove_one(const CacheContents& contents, const CacheRemoval& removal) {
  const CachedRepo& repo = *removal.repo;
  int64_t freed = 0;
  std::set<fs::path> blobs;
  for (const auto* revision : removal.revisions) {
    stop_if_requested();
    freed += remove_snapshot(repo, *revision);
    for (const auto& file : revision->files) {
      if (is_blob_of(repo, file.blob)) blobs.insert(file.blob);
    }
  }
  if (!removal.is_whole()) return freed + remove_unused(contents, repo, {blobs.begin(), blobs.end()});
  freed += remove_unused(contents, repo, folder_entries(repo.folder / "blobs"));
  if (!folder_entries(repo.folder / "snapshots").empty()) return freed;  // somebody has begun anew
  for (const char* part : {"refs", "trees", ".no_exist"}) remove_tree(repo.folder / part);
  for (const char* part : {"snapshots", "blobs"}) remove_empty(repo.folder / part, repo.folder / part);
  remove_empty(repo.folder, repo.folder);
  return freed;
}

}  // namespace

std::vector<CacheRemoval> chosen_removals(const CacheContents& contents, const std::vector<std::string>& targets) {
  std::set<const CachedRevision*> chosen;
  std::set<const CachedRepo*> whole;
  std::vector<std::string> missing;
  for (const auto& target : targets) {
    bool found = false;
    for (const auto& repo : contents.repos) {
      if (repo.name() == target) found = whole.insert(&repo).second || true;
      for (const auto& revision : repo.revisions) {
        if (revision.commit == target && is_commit(target)) found = chosen.insert(&revision).second || true;
      }
    }
    if (!found) missing.push_back(target);
  }
  if (!missing.empty()) {
    throw HubError(str("the cache ", contents.folder.string(), " does not hold ", listed(missing)),
                   "`lorikeet hub cache ls --revisions` lists what it holds, under names like model/owner/name");
  }
  std::vector<CacheRemoval> removals;
  for (const auto& repo : contents.repos) {
    CacheRemoval removal{.repo = &repo, .revisions = {}};
    for (const auto& revision : repo.revisions) {
      if (whole.contains(&repo) || chosen.contains(&revision)) removal.revisions.push_back(&revision);
    }
    if (whole.contains(&repo) || !removal.revisions.empty()) removals.push_back(std::move(removal));
  }
  return removals;
}

std::vector<CacheRemoval> detached_removals(const CacheContents& contents) {
  std::vector<CacheRemoval> removals;
  for (const auto& repo : contents.repos) {
    CacheRemoval removal{.repo = &repo, .revisions = {}};
    for (const auto& revision : repo.revisions) {
      if (revision.refs.empty()) removal.revisions.push_back(&revision);
    }
    if (!removal.revisions.empty()) removals.push_back(std::move(removal));
  }
  return removals;
}

int64_t bytes_freed_by(const CacheContents& contents, const std::vector<CacheRemoval>& removals) {
  const SharedBlobs shared(contents.folder);
  std::map<fs::path, int64_t> gone;
  for (const auto& removal : removals) {
    std::set<fs::path> kept;
    for (const auto& revision : removal.repo->revisions) {
      const auto is_it = [&](const auto* one) { return one == &revision; };
      if (std::any_of(removal.revisions.begin(), removal.revisions.end(), is_it)) continue;
      for (const auto& file : revision.files) kept.insert(file.blob);
    }
    for (const auto* revision : removal.revisions) {
      for (const auto& file : revision->files) {
        const bool is_own = file.blob == file.place || is_blob_of(*removal.repo, file.blob);
        if (is_own && !kept.contains(file.blob)) gone.emplace(file.blob, file.size);
      }
    }
  }
  int64_t freed = 0;
  std::set<fs::path> payloads;
  for (const auto& [blob, size] : gone) {
    const auto payload = shared.target_of(blob);
    if (!payload) {
      freed += size;
    } else if (payloads.insert(*payload).second) {
      const auto users = shared.users_of(*payload);
      const auto goes = [&](const fs::path& user) { return gone.contains(user); };
      if (users && std::all_of(users->begin(), users->end(), goes)) freed += size;
    }
  }
  return freed;
}

int64_t remove_from_cache(const CacheContents& contents, const std::vector<CacheRemoval>& removals) {
  for (const auto& removal : removals) require_idle(contents, *removal.repo);
  int64_t freed = 0;
  for (const auto& removal : removals) freed += remove_one(contents, removal);
  return freed;
}

CacheLeftovers find_leftovers(const CacheContents& contents) {
  CacheLeftovers found;
  const auto add = [&](std::vector<fs::path>& list, const fs::path& file) {
    std::error_code error;
    const auto size = is_link(file) ? 0 : fs::file_size(file, error);
    list.push_back(file);
    if (!error) found.size += static_cast<int64_t>(size);
  };
  for (const auto& repo : contents.repos) {
    if (is_link(repo.folder) || is_link(repo.folder / "blobs")) continue;
    const auto used = used_blobs(repo);
    for (const auto& blob : folder_entries(repo.folder / "blobs")) {
      if (fs::is_directory(fs::symlink_status(blob)) || used.contains(blob)) continue;
      if (is_busy(lock_of(contents, repo, blob))) continue;  // being fetched
      add(blob.extension() == ".incomplete" ? found.incomplete : found.blobs, blob);
    }
  }
  for (const auto& payload : SharedBlobs(contents.folder).unused()) add(found.shared, payload);
  return found;
}

int64_t remove_leftovers(const CacheContents& contents, const CacheLeftovers& leftovers) {
  int64_t freed = 0;
  for (const auto& repo : contents.repos) {
    std::vector<fs::path> own;
    for (const auto* list : {&leftovers.incomplete, &leftovers.blobs}) {
      std::copy_if(list->begin(), list->end(), std::back_inserter(own),
                   [&](const fs::path& blob) { return is_blob_of(repo, blob); });
    }
    if (!own.empty()) freed += remove_unused(contents, repo, own);
  }
  const SharedBlobs shared(contents.folder);
  for (const auto& payload : leftovers.shared) freed += shared.sweep(payload);
  return freed;
}

}  // namespace lorikeet
