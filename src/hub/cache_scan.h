// What the Hub's cache on this machine holds: repositories, their revisions, and what these take on the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace lorikeet {

struct CachedFile {
  std::string path;             // in the repository
  std::filesystem::path place;  // in the snapshot
  std::filesystem::path blob;   // where its link leads, one step; `place` itself where it is no link
  int64_t size = 0;             // bytes; 0 where the link leads nowhere
};

struct CachedRevision {
  std::string commit;
  std::filesystem::path folder;
  std::vector<std::string> refs;  // the branches and tags that mean it; without any it is detached
  std::vector<CachedFile> files;
  int64_t size = 0;     // bytes, each blob once
  double modified = 0;  // seconds since 1970
};

struct CachedRepo {
  std::string type, id;  // "model", "owner/name"
  std::filesystem::path folder;
  std::vector<CachedRevision> revisions;
  int64_t size = 0;                   // bytes of what the revisions use, each blob once
  double accessed = 0, modified = 0;  // seconds since 1970; the first is as good as the file system's notes
  /// "model/owner/name"
  std::string name() const { return type + "/" + id; }
  /// Of all revisions, sorted.
  std::vector<std::string> refs() const;
};

struct CacheContents {
  std::filesystem::path folder;
  std::vector<CachedRepo> repos;                  // by name
  std::vector<std::filesystem::path> incomplete;  // what downloads have begun, or left
  int64_t size = 0;                               // bytes; what several repositories share is counted once
  std::vector<std::string> warnings;  // folders that are no repository and were passed over; links that lead nowhere
};

/// Reads hub_cache_folder(): sizes are those of huggingface_hub 2.4.0's scan_cache_dir, which leaves out a repository
/// with a broken link that is here with a warning. Throws FileError when there is no cache.
CacheContents scan_cache();

/// Where a symbolic link leads, one step and as an absolute path; nothing for what is none.
std::filesystem::path link_target(const std::filesystem::path& link);

/// What lies directly in a folder, sorted; nothing for one that cannot be read.
std::vector<std::filesystem::path> folder_entries(const std::filesystem::path& folder);

/// The files of a snapshot. Links to folders are not followed.
std::vector<CachedFile> snapshot_files(const std::filesystem::path& snapshot);

}  // namespace lorikeet
