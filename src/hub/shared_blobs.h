// Bytes that several repositories of the cache share: huggingface_hub 2 keeps what it fetches by Xet in one place.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace lorikeet {

/// CACHE/blobs/AB/AB... (64 digits) holds bytes that blobs of repositories are links to; AB....refs beside it names
/// these links, one a line. That file is a hint only: each line is checked, and where there is no such file nothing is
/// ever removed. We never put anything there. Source: huggingface_hub 2.4.0's cache.
class SharedBlobs {
 public:
  explicit SharedBlobs(const std::filesystem::path& cache);

  /// Whether the folder is there and is marked as one whose layout is known.
  bool is_there() const { return there_; }
  /// All files with bytes in it.
  std::vector<std::filesystem::path> payloads() const;
  /// The file there that a repository's blob is a link to.
  std::optional<std::filesystem::path> target_of(const std::filesystem::path& blob) const;
  /// The blobs that are links to it; nothing when that cannot be told.
  std::optional<std::set<std::filesystem::path>> users_of(const std::filesystem::path& payload) const;
  /// Those nobody uses any more.
  std::vector<std::filesystem::path> unused() const;
  /// Removes it if nobody uses it, under its lock; how many bytes that freed.
  int64_t sweep(const std::filesystem::path& payload) const;

 private:
  bool is_payload(const std::filesystem::path& path) const;

  std::filesystem::path cache_, folder_;
  bool there_ = false;
};

}  // namespace lorikeet
