#include "core/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

constexpr const char* kUnfinished = ".incomplete";

[[noreturn]] void fail(const char* what, const std::filesystem::path& path, int error) {
  std::string hint;
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) hint = "free some disk space, or choose another folder";
  if (error == EACCES || error == EROFS) hint = "choose a folder you may write to";
  throw FileError(str("cannot ", what, " ", path.string(), ": ", std::strerror(error)), hint);
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
  static std::atomic<int> counter{0};
  temporary_ = path_;
  temporary_ += str(".", ::getpid(), ".", counter++, kUnfinished);
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail("write", path_, errno);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t bytes) {
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::write(descriptor_, next, bytes);
    if (written < 0) {
      if (errno == EINTR) continue;
      fail("write", path_, errno);
    }
    next += written;
    bytes -= static_cast<size_t>(written);
  }
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) fail("write", path_, errno);
  const int descriptor = descriptor_;
  descriptor_ = -1;
  if (::close(descriptor) != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary_.c_str());
    fail("write", path_, error);
  }
  sync_folder(path_.has_parent_path() ? path_.parent_path() : ".");
}

bool is_unfinished_file(const std::filesystem::path& path) { return path.extension() == kUnfinished; }

void write_file_atomically(const std::filesystem::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes.data(), bytes.size());
  file.commit();
}

std::string read_file(const std::filesystem::path& path, size_t limit) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error) throw FileError(str("cannot read ", path.string(), ": ", error.message()));
  if (size > limit)
    throw FileError(str("cannot read ", path.string(), ": ", size, " bytes, at most ", limit, " expected"));
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  if (!in) throw FileError(str("cannot read ", path.string(), ": ", std::strerror(errno)));
  return std::move(out).str();
}

void sync_folder(const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;  // a folder that cannot be opened cannot be synced; the rename itself has succeeded
  ::fsync(descriptor);
  ::close(descriptor);
}

}  // namespace lorikeet
