#include "hub/shared_blobs.h"

#include <algorithm>
#include <sstream>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/log.h"
#include "hub/cache_scan.h"
#include "hub/file_lock.h"
#include "hub/hex.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

constexpr const char* kMarker = ".huggingface-shared-blobs";
constexpr const char* kLayout = "1\n";
constexpr size_t kMostUsers = 64 << 20;  // bytes of a .refs file

/// Not through links: the folder must not lead out of the cache.
bool is_real_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(fs::symlink_status(path, ignored));
}
bool is_real_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(fs::symlink_status(path, ignored));
}

fs::path beside(fs::path path, const char* suffix) {
  path += suffix;
  return path;
}

/// "models--owner--name/blobs/ETAG": the only links there are.
bool is_blob_of_repository(const fs::path& path) {
  std::vector<std::string> parts(path.begin(), path.end());
  return parts.size() == 3 && parts[0].find("--") != std::string::npos && parts[1] == "blobs" && !parts[2].empty() &&
         parts[2] != ".." && parts[2] != ".";
}

}  // namespace

SharedBlobs::SharedBlobs(const fs::path& cache) : cache_(cache), folder_(cache / "blobs") {
  try {
    there_ = is_real_folder(folder_) && is_real_file(folder_ / kMarker) && read_file(folder_ / kMarker, 64) == kLayout;
  } catch (const FileError&) {
    there_ = false;
  }
}

std::vector<fs::path> SharedBlobs::payloads() const {
  std::vector<fs::path> found;
  if (!there_) return found;
  for (const auto& folder : folder_entries(folder_)) {
    if (!is_hex(folder.filename(), 2)) continue;
    for (const auto& file : folder_entries(folder)) {
      if (is_payload(file)) found.push_back(file);
    }
  }
  return found;
}

std::optional<fs::path> SharedBlobs::target_of(const fs::path& blob) const {
  if (!there_ || !is_blob_of_repository(blob.lexically_relative(cache_))) return std::nullopt;
  const fs::path target = link_target(blob);
  if (target.empty() || !is_payload(target)) return std::nullopt;
  return target;
}

bool SharedBlobs::is_payload(const fs::path& path) const {
  const std::string name = path.filename();
  return is_hex(name, 64) && path == folder_ / name.substr(0, 2) / name && is_real_folder(path.parent_path()) &&
         is_real_file(path);
}

std::optional<std::set<fs::path>> SharedBlobs::users_of(const fs::path& payload) const {
  const fs::path list = beside(payload, ".refs");
  if (!is_real_file(list)) return std::nullopt;
  std::set<fs::path> users;
  try {
    std::istringstream lines(read_file(list, kMostUsers));
    for (std::string line; std::getline(lines, line);) {
      if (!line.empty() && line.back() == '\r') line.pop_back();
      if (is_blob_of_repository(line) && target_of(cache_ / line) == payload) users.insert(cache_ / line);
    }
  } catch (const FileError&) {
    return std::nullopt;
  }
  return users;
}

std::vector<fs::path> SharedBlobs::unused() const {
  std::vector<fs::path> found;
  for (const auto& payload : payloads()) {
    const auto users = users_of(payload);
    if (users && users->empty()) found.push_back(payload);
  }
  return found;
}

int64_t SharedBlobs::sweep(const fs::path& payload) const {
  if (!there_ || !is_payload(payload)) return 0;
  try {
    const FileLock lock(beside(payload, ".lock"));
    const auto users = users_of(payload);
    if (!users || !users->empty()) return 0;
    std::error_code error;
    const auto size = fs::file_size(payload, error);
    if (error || !fs::remove(payload, error)) return 0;
    fs::remove(beside(payload, ".refs"), error);
    return static_cast<int64_t>(size);
  } catch (const FileError& error) {
    log_warning(error.what());  // what is not removed takes room, and no more
    return 0;
  }
}

}  // namespace lorikeet
