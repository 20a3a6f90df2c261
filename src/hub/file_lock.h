// A lock between processes, that of Python's `filelock` on Unix: flock on a file that stays.
#pragma once

#include <filesystem>

namespace lorikeet {

/// Held while it lives; the folders of `path` are made. Waits, with a line in the log every ten seconds; on a file
/// system without flock it holds nothing. Throws FileError when the file cannot be opened, Interrupted when a stop is
/// requested.
class FileLock {
 public:
  explicit FileLock(const std::filesystem::path& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace lorikeet
