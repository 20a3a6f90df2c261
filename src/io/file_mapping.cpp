#include "io/file_mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>

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

/// Where all mappings of this process lie: begin -> end. Other memory must never be released, it would be lost.
std::mutex mappings_mutex;
std::map<uintptr_t, uintptr_t>& mappings() {
  static auto* all = new std::map<uintptr_t, uintptr_t>;  // outlives mappings that static objects hold
  return *all;
}

}  // namespace

FileMapping::FileMapping(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe would wait for a writer
  if (descriptor < 0) fail(path, errno);
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) close_and_fail(descriptor, path, errno);
  if (!S_ISREG(status.st_mode)) close_and_fail(descriptor, path, S_ISDIR(status.st_mode) ? EISDIR : EINVAL);
  size_ = static_cast<size_t>(status.st_size);
  if (size_ > 0) {
    void* address = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
    if (address == MAP_FAILED) close_and_fail(descriptor, path, errno);
    bytes_ = static_cast<char*>(address);
    const std::lock_guard lock(mappings_mutex);
    mappings()[reinterpret_cast<uintptr_t>(bytes_)] = reinterpret_cast<uintptr_t>(bytes_) + size_;
  }
  ::close(descriptor);
}

FileMapping::~FileMapping() {
  if (bytes_ == nullptr) return;
  const std::lock_guard lock(mappings_mutex);
  mappings().erase(reinterpret_cast<uintptr_t>(bytes_));
  ::munmap(bytes_, size_);
}

void release_pages(const void* bytes, size_t size) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(bytes), end = begin + size;
  const std::lock_guard lock(mappings_mutex);
  auto mapping = mappings().upper_bound(begin);
  if (mapping == mappings().begin()) return;
  --mapping;
  if (begin >= mapping->second || end > mapping->second) return;
  const uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace lorikeet
