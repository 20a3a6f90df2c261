#include "io/file_range.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

constexpr size_t kWindow = 4096;

}  // namespace

FileRange::FileRange(const std::filesystem::path& file, int64_t offset, int64_t bytes, std::string name)
    : name_(std::move(name)) {
  // Opening a named pipe would wait for somebody to write into it.
  descriptor_ = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat status {};
  std::string problem;
  if (descriptor_ < 0 || ::fstat(descriptor_, &status) != 0) {
    problem = std::strerror(errno);
  } else if (!S_ISREG(status.st_mode)) {
    problem = "it is not a regular file";
  } else if (offset < 0 || bytes < -1 || offset > status.st_size || (bytes >= 0 && bytes > status.st_size - offset)) {
    problem = str("it has ", status.st_size, " bytes, ", bytes, " from ", offset, " on were to be read");
  }
  if (!problem.empty()) {
    if (descriptor_ >= 0) ::close(descriptor_);
    throw FileError(str("cannot read ", name_, ": ", problem));
  }
  start_ = static_cast<uint64_t>(offset);
  size_ = static_cast<uint64_t>(bytes >= 0 ? bytes : status.st_size - offset);
}

FileRange::~FileRange() { ::close(descriptor_); }

std::string_view FileRange::read(uint64_t at, size_t count) {
  if (at >= size_) return {};
  count = static_cast<size_t>(std::min<uint64_t>(count, size_ - at));
  if (at < window_at_ || at - window_at_ > window_.size() || window_.size() - (at - window_at_) < count) {
    window_.resize(static_cast<size_t>(std::min<uint64_t>(std::max(count, kWindow), size_ - at)));
    window_at_ = at;
    size_t have = 0;
    while (have < window_.size()) {
      const ssize_t got =
          ::pread(descriptor_, window_.data() + have, window_.size() - have, static_cast<off_t>(start_ + at + have));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw FileError(str("cannot read ", name_, ": ", std::strerror(errno)));
      if (got == 0) throw FileError(str("cannot read ", name_, ": it became shorter while it was read"));
      have += static_cast<size_t>(got);
    }
  }
  return std::string_view(window_).substr(static_cast<size_t>(at - window_at_), count);
}

}  // namespace lorikeet
