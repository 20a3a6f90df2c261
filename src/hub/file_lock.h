// A lock between processes, that of Python's `filelock` on Unix: flock on a file that stays.
#pragma once

#include <filesystem>
#include <memory>

namespace lorikeet {

/// Held while it lives; the folders of `path` are made. Waits, with a line in the log every ten seconds; on a file
/// system without flock it holds nothing. Throws FileError when the file cannot be opened, Interrupted when a stop is
/// requested.
class FileLock {
 public:
  explicit FileLock(const std::filesystem::path& path);
  /// Without waiting: nothing where another holds it.
  static std::unique_ptr<FileLock> try_lock(const std::filesystem::path& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  FileLock() = default;
  /// Whether it is held now, or cannot be on this file system.
  bool take(const std::filesystem::path& path);

  int descriptor_ = -1;
};

}  // namespace lorikeet
