#include "io/file_mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, int error) {
  throw FileError(str("cannot read ", path.string(), ": ", std::strerror(error)));
}

[[noreturn]] void close_and_fail(int descriptor, const std::filesystem::path& path, int error) {
  ::close(descriptor);
  fail(path, error);
}

}  // namespace

FileMapping::FileMapping(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail(path, errno);
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) close_and_fail(descriptor, path, errno);
  if (!S_ISREG(status.st_mode)) close_and_fail(descriptor, path, S_ISDIR(status.st_mode) ? EISDIR : EINVAL);
  size_ = static_cast<size_t>(status.st_size);
  if (size_ > 0) {
    void* address = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
    if (address == MAP_FAILED) close_and_fail(descriptor, path, errno);
    bytes_ = static_cast<char*>(address);
  }
  ::close(descriptor);
}

FileMapping::~FileMapping() {
  if (bytes_ != nullptr) ::munmap(bytes_, size_);
}

}  // namespace lorikeet
