// A part of a file, read piece by piece where it is asked for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace lorikeet {

/// Bytes `offset` to `offset + bytes` of a regular file (-1: to its end). Holds a small window, never all of it.
class FileRange {
 public:
  /// `name` is for messages. Throws FileError: no such file, not a regular one, shorter than the range, a negative
  /// offset.
  FileRange(const std::filesystem::path& file, int64_t offset, int64_t bytes, std::string name);
  ~FileRange();
  FileRange(const FileRange&) = delete;
  FileRange& operator=(const FileRange&) = delete;

  uint64_t size() const { return size_; }
  const std::string& name() const { return name_; }

  /// The `count` bytes from `at` on, fewer where the range ends. Valid until the next call. Throws FileError.
  std::string_view read(uint64_t at, size_t count);

 private:
  std::string name_;
  int descriptor_ = -1;
  uint64_t start_ = 0, size_ = 0;
  std::string window_;
  uint64_t window_at_ = 0;
};

}  // namespace lorikeet
