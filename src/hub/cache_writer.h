// The Hub's cache on this machine, written so that huggingface_hub and we read each other's files.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "hub/endpoint.h"

namespace lorikeet {

/// The folder of one repository in the cache: blobs/ETAG holds bytes, snapshots/COMMIT/PATH is a relative link to them,
/// refs/REVISION a commit, .no_exist/COMMIT/PATH an empty file for what the Hub does not have. Nothing is ever written
/// into a blob that is there. Source: huggingface_hub 2.4.0's cache.
class CacheRepo {
 public:
  explicit CacheRepo(const HubRepo& repo);

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path blob(const std::string& etag) const;
  std::filesystem::path snapshot(const std::string& commit) const;
  std::filesystem::path lock_file(const std::string& etag) const;
  /// blobs/ETAG.RANDOM.incomplete, which no other process uses.
  std::filesystem::path incomplete(const std::string& etag) const;

  /// The commit a revision means: itself, or what refs/ says.
  std::optional<std::string> commit_of(const std::string& revision) const;
  /// The snapshot's file, if it is there.
  std::optional<std::filesystem::path> find(const std::string& commit, const std::string& path) const;

  /// Makes the folders of a blob, and the cache's CACHEDIR.TAG.
  void make_folders() const;
  /// Nothing for a commit, and where refs/ says so already. Throws FileError.
  void write_ref(const std::string& revision, const std::string& commit) const;
  void mark_missing(const std::string& commit, const std::string& path) const;
  /// snapshots/COMMIT/PATH -> blobs/ETAG, replacing what is there; returns it. Without links ($HF_HUB_DISABLE_SYMLINKS,
  /// or a file system that has none) the file itself is put there. Throws FileError.
  std::filesystem::path link(const std::string& commit, const std::string& path, const std::string& etag) const;
  /// Removes what killed downloads of this blob left a day ago or longer. Under its lock only.
  void remove_stale(const std::string& etag) const;

 private:
  std::filesystem::path cache_, folder_;
};

/// 40 hexadecimal digits.
bool is_commit(const std::string& revision);

/// Throws UsageError for a revision that is no name of a branch, a tag or a commit.
void require_revision(const std::string& revision);

}  // namespace lorikeet
