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

/// Tells the kernel that the whole pages within these bytes are not needed for now, where they belong to a FileMapping;
/// they are read again when looked at, and what was written into them is lost. Nothing happens to other memory. For
/// those who go through a large file once: what they have seen then no longer counts as this process's memory.
void release_pages(const void* bytes, size_t size);

}  // namespace lorikeet
