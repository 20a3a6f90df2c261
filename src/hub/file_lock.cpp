#include "hub/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "core/errors.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/text.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPoll = std::chrono::milliseconds(50);
constexpr auto kTell = std::chrono::seconds(10);

int open_lock(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  // Never truncated, and writable for the group that shares a cache: as filelock does it.
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0664);
  if (descriptor < 0) {
    throw FileError(str("cannot lock ", path.string(), ": ", std::strerror(errno)),
                    "the Hub's cache must be a folder you may write to; HF_HOME names another");
  }
  return descriptor;
}

/// Whether the path still leads to the file that was locked: it may have been removed in between.
bool is_current(int descriptor, const fs::path& path) {
  struct stat held = {}, named = {};
  return ::fstat(descriptor, &held) == 0 && ::stat(path.c_str(), &named) == 0 && held.st_dev == named.st_dev &&
         held.st_ino == named.st_ino;
}

}  // namespace

bool FileLock::take(const fs::path& path) {
  const int descriptor = open_lock(path);
  const bool locked = ::flock(descriptor, LOCK_EX | LOCK_NB) == 0;
  const int error = locked ? 0 : errno;
  const bool busy = error == EWOULDBLOCK || error == EACCES || error == EINTR;
  if ((locked && is_current(descriptor, path)) || (!locked && !busy)) {
    descriptor_ = descriptor;
    return true;
  }
  ::close(descriptor);
  return false;
}

FileLock::FileLock(const fs::path& path) {
  const auto started = Clock::now();
  auto told = started;
  while (!take(path)) {
    stop_if_requested();
    if (Clock::now() - told >= kTell) {
      told = Clock::now();
      log_info(str("another program holds ", path.string(), "; waiting for ",
                   std::chrono::duration_cast<std::chrono::seconds>(told - started).count(), " seconds"));
    }
    std::this_thread::sleep_for(kPoll);
  }
}

std::unique_ptr<FileLock> FileLock::try_lock(const fs::path& path) {
  std::unique_ptr<FileLock> lock(new FileLock);
  if (!lock->take(path)) return nullptr;
  return lock;
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace lorikeet
