// Listings of commits in the cache: a commit never changes, so that it is listed once.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hub/api.h"
#include "hub/cache_writer.h"

namespace lorikeet {

/// trees/COMMIT.json (format_version 1), byte for byte as huggingface_hub 2.4.0 writes it.
std::string listing_text(const std::vector<RepoFile>& files);

/// What trees/COMMIT.json says, sorted by path; nothing where it is missing, damaged or of another format, or names a
/// path that is not safe.
std::optional<std::vector<RepoFile>> cached_listing(const CacheRepo& cache, const std::string& commit);

struct RepoListing {
  std::string commit;
  std::vector<RepoFile> files;
};

/// What `revision` means and holds: the Hub is asked which commit that is, unless it is one, and for the commit's
/// files, unless the cache knows them; it does from then on. Throws as repo_info and list_files do.
RepoListing list_revision(HubClient& client, const HubRepo& repo, const std::string& revision);

/// The same of what the cache knows, asking nobody. Throws HubError where it does not.
RepoListing cached_revision(const HubRepo& repo, const std::string& revision);

}  // namespace lorikeet
