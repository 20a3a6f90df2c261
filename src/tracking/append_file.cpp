#include "tracking/append_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, int error) {
  throw FileError(str("cannot write ", path.string(), ": ", std::strerror(error)));
}

}  // namespace

AppendFile::AppendFile(std::filesystem::path path) : path_(std::move(path)) {
  std::error_code error;
  std::filesystem::create_directories(path_.parent_path(), error);
  if (error) fail(path_, error.value());
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail(path_, errno);
  struct stat status {};
  ::fstat(descriptor_, &status);
  size_ = status.st_size;
}

AppendFile::~AppendFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void AppendFile::append(std::string_view record) {
  std::string_view rest = record;
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const int error = written < 0 ? errno : ENOSPC;
      // Half a record would make everything behind it unreadable.
      [[maybe_unused]] const int result = ::ftruncate(descriptor_, size_);
      fail(path_, error);
    }
    rest.remove_prefix(static_cast<size_t>(written));
  }
  size_ += static_cast<int64_t>(record.size());
}

}  // namespace lorikeet
