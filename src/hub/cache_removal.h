// Taking things out of the Hub's cache, so that what stays is whole for whoever uses the cache meanwhile.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "hub/cache_scan.h"

namespace lorikeet {

/// What goes of one repository; it points into the CacheContents it was chosen from.
struct CacheRemoval {
  const CachedRepo* repo = nullptr;
  std::vector<const CachedRevision*> revisions;
  /// Then the repository's folder goes too.
  bool is_whole() const { return revisions.size() == repo->revisions.size(); }
};

/// `targets`: repositories (model/owner/name) and commits, of 40 digits. Throws HubError for one that is not there.
std::vector<CacheRemoval> chosen_removals(const CacheContents& contents, const std::vector<std::string>& targets);
/// What no branch or tag means any more.
std::vector<CacheRemoval> detached_removals(const CacheContents& contents);

/// Bytes that would be freed: a blob that something else uses is not.
int64_t bytes_freed_by(const CacheContents& contents, const std::vector<CacheRemoval>& removals);

/// Removes them, and returns the bytes that were freed. Branches and tags go first and blobs last, each under its lock
/// and only if no snapshot has come to use it: whenever this ends, and whatever others fetch meanwhile, the rest is
/// whole. Links are removed, never what they lead to outside of the cache. Throws HubError, having removed nothing,
/// where a download is under way or a folder of the cache is a link itself; FileError.
int64_t remove_from_cache(const CacheContents& contents, const std::vector<CacheRemoval>& removals);

/// What `prune` removes besides: begun downloads that nobody goes on with, blobs that no snapshot uses, and bytes
/// shared by no repository any more.
struct CacheLeftovers {
  std::vector<std::filesystem::path> incomplete, blobs, shared;
  int64_t size = 0;  // bytes
  bool empty() const { return incomplete.empty() && blobs.empty() && shared.empty(); }
};
CacheLeftovers find_leftovers(const CacheContents& contents);
/// The bytes that were freed. What is in use by now stays.
int64_t remove_leftovers(const CacheContents& contents, const CacheLeftovers& leftovers);

}  // namespace lorikeet
