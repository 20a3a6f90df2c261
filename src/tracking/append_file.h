#pragma once

#include <filesystem>
#include <string_view>

namespace lorikeet {

/// A file that grows record by record; a record is there as a whole or not at all, also when the disk is full.
class AppendFile {
 public:
  /// Makes the folder and the file where they are missing; what is in the file stays. Throws FileError.
  explicit AppendFile(std::filesystem::path path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  /// Hands one record to the system. Throws FileError; then the file is as it was.
  void append(std::string_view record);

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  int64_t size_ = 0;
};

}  // namespace lorikeet
