#include "hub/new_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void fail(const char* what, const fs::path& path, int error) {
  std::string hint;
  if (error == ENOSPC || error == EDQUOT || error == EFBIG)
    hint = "free some disk space, or name another folder in HF_HOME";
  if (error == EACCES || error == EROFS) hint = "name a folder you may write to in HF_HOME";
  throw FileError(str("cannot ", what, " ", path.string(), ": ", std::strerror(error)), hint);
}

std::string gigabytes(int64_t bytes) {
  const double value = static_cast<double>(bytes) / 1e9;
  return str(static_cast<double>(static_cast<int64_t>(value * 100 + 0.5)) / 100, " GB");
}

}  // namespace

NewFile::NewFile(fs::path path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail("write", path_, errno);
}

NewFile::~NewFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(path_.c_str());
}

void NewFile::write(int64_t offset, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(descriptor_, bytes.data(), bytes.size(), offset);
    if (written < 0) {
      if (errno == EINTR) continue;
      fail("write", path_, errno);
    }
    offset += written;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

void NewFile::read(int64_t offset, char* buffer, size_t bytes) const {
  while (bytes > 0) {
    const ssize_t got = ::pread(descriptor_, buffer, bytes, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) fail("read", path_, got < 0 ? errno : EIO);
    offset += got;
    buffer += got;
    bytes -= static_cast<size_t>(got);
  }
}

void NewFile::clear() {
  if (::ftruncate(descriptor_, 0) != 0) fail("write", path_, errno);
}

void NewFile::keep() {
  const int descriptor = descriptor_;
  descriptor_ = -1;
  if (::close(descriptor) == 0) return;
  const int error = errno;
  ::unlink(path_.c_str());
  fail("write", path_, error);
}

void require_space(const fs::path& folder, int64_t bytes) {
  std::error_code error;
  const auto space = fs::space(folder, error);
  if (error || space.available >= static_cast<uintmax_t>(bytes)) return;
  throw FileError(str("the disk of ", folder.string(), " has ", gigabytes(static_cast<int64_t>(space.available)),
                      " free; the download needs ", gigabytes(bytes)),
                  "free some space, or name a folder on another disk in HF_HOME");
}

}  // namespace lorikeet
