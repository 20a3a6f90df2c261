// Whether what lies in the Hub's cache is what the Hub promised.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "hub/cache_scan.h"

namespace lorikeet {

struct CacheProblem {
  std::string repo, commit;  // "model/owner/name", and the commit; of several that share a blob the first
  std::string path;          // in the repository
  std::string what;          // "sha256 ..., ... was promised"; "leads nowhere"
};

struct CacheVerdict {
  int64_t files = 0;      // read and right; each blob once
  int64_t unchecked = 0;  // whose name does not tell what they should be
  std::vector<CacheProblem> problems;
};

/// Reads every blob of `revisions` (pairs: the repository and one of its revisions) again: its name is the sha256 of
/// the bytes, or git's sha1 of them; of a file that is no link the commit's listing (tree_cache.h) says it. Asks
/// nobody. `progress` is told the bytes read so far. Throws Interrupted.
CacheVerdict verify_cached(const std::vector<std::pair<const CachedRepo*, const CachedRevision*>>& revisions,
                           const std::function<void(int64_t done)>& progress = nullptr);

}  // namespace lorikeet
