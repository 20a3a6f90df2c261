// A whole file as memory, read from the disk where it is looked at.
#pragma once

#include <cstddef>
#include <filesystem>

namespace lorikeet {

/// Private: a stray in-place operation changes this process's copy of the page only. The file must not become shorter
/// while it is mapped.
class FileMapping {
 public:
  /// Throws FileError when the file cannot be read or is no regular one.
  explicit FileMapping(const std::filesystem::path& path);
  ~FileMapping();
  FileMapping(const FileMapping&) = delete;
  FileMapping& operator=(const FileMapping&) = delete;

  /// Null for an empty file.
  char* bytes() const { return bytes_; }
  size_t size() const { return size_; }

 private:
  char* bytes_ = nullptr;
  size_t size_ = 0;
};

}  // namespace lorikeet
