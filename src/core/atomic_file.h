// Files that are either wholly there or not there at all.
#pragma once

#include <filesystem>
#include <functional>
#include <iosfwd>
#include <string>
#include <string_view>

namespace lorikeet {

/// Writes `path` aside (in the same folder), fsyncs it, renames it into place and fsyncs the folder.
/// A crash or a full disk leaves the old file, or none; never a part.
/// Throws FileError naming the path and the system's reason; then the file written aside is gone.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  /// Makes it so. Without a commit the destructor throws the written bytes away.
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

/// Whether the file is one that was being written aside when its program was killed.
bool is_unfinished_file(const std::filesystem::path& path);

/// The whole file in one call.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

/// Reads a whole file; throws FileError when it cannot, or when it is larger than `limit` bytes.
std::string read_file(const std::filesystem::path& path, size_t limit = size_t{1} << 30);

/// fsyncs a folder, so that the names in it survive a power cut.
void sync_folder(const std::filesystem::path& folder);

}  // namespace lorikeet
