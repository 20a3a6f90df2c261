// A file that is being filled, from several places at once, and is gone unless it was kept.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace lorikeet {

/// Throws FileError naming the file and the system's reason.
class NewFile {
 public:
  /// Makes it, with the permissions the umask leaves.
  explicit NewFile(std::filesystem::path path);
  ~NewFile();
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void write(int64_t offset, std::string_view bytes);
  /// Reads exactly as many bytes as `buffer` has.
  void read(int64_t offset, char* buffer, size_t bytes) const;
  void clear();
  /// Closes it; it stays.
  void keep();

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

/// Throws FileError when the file system of `folder` has less than `bytes` free.
void require_space(const std::filesystem::path& folder, int64_t bytes);

}  // namespace lorikeet
