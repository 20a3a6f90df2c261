#include "hub/cache_writer.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <random>
#include <vector>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/text.h"
#include "hub/api.h"
#include "hub/cache.h"
#include "hub/environment.h"
#include "hub/hex.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

constexpr auto kStale = std::chrono::hours(24);
constexpr const char* kCacheTag =
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Models and data of the Hugging Face Hub, which can be fetched again: backups may leave this folder out.\n";

std::string random_digits() {
  std::random_device source;
  std::string text;
  for (int i = 0; i < 8; ++i) text += "0123456789abcdef"[source() & 15];
  return text;
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);  // through links: a link to nothing is not there
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw FileError(str("cannot make the folder ", folder.string(), ": ", error.message()),
                    "the Hub's cache must be a folder you may write to; HF_HOME names another");
  }
}

/// Beside it; a name of its own, for that of the file may be as long as names can be.
fs::path aside_of(const fs::path& place) { return place.parent_path() / str(".", random_digits(), ".incomplete"); }

/// Made aside and moved into place: another process may be doing the same.
bool link_aside(const fs::path& target, const fs::path& place) {
  const fs::path aside = aside_of(place);
  std::error_code error;
  fs::create_symlink(target, aside, error);
  if (error) return false;
  fs::rename(aside, place, error);
  if (!error) return true;
  fs::remove(aside);
  throw FileError(str("cannot write ", place.string(), ": ", error.message()));
}

void copy_aside(const fs::path& blob, const fs::path& place) {
  const fs::path aside = aside_of(place);
  std::error_code error;
  fs::copy_file(blob, aside, error);
  if (!error) fs::rename(aside, place, error);
  if (!error) return;
  std::error_code ignored;
  fs::remove(aside, ignored);
  throw FileError(str("cannot write ", place.string(), ": ", error.message()));
}

/// Those that were there when this process first looked: what came later is not stale, and to list a data set's hundred
/// thousand blobs anew for each of them would take longer than to fetch them.
std::vector<fs::path> incomplete_files(const fs::path& blobs) {
  static std::mutex mutex;
  static std::map<fs::path, std::vector<fs::path>> known;
  const std::lock_guard lock(mutex);
  const auto [files, is_new] = known.try_emplace(blobs);
  if (!is_new) return files->second;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(blobs, error)) {
    if (entry.path().extension() == ".incomplete") files->second.push_back(entry.path());
  }
  return files->second;
}

}  // namespace

CacheRepo::CacheRepo(const HubRepo& repo) : cache_(hub_cache_folder()) {
  std::string name = repo_type_name(repo.type) + "s--" + repo.id;
  if (const size_t slash = name.find('/'); slash != std::string::npos) name.replace(slash, 1, "--");
  folder_ = cache_ / name;
}

fs::path CacheRepo::blob(const std::string& etag) const { return folder_ / "blobs" / etag; }
fs::path CacheRepo::snapshot(const std::string& commit) const { return folder_ / "snapshots" / commit; }
fs::path CacheRepo::lock_file(const std::string& etag) const {
  return cache_ / ".locks" / folder_.filename() / (etag + ".lock");
}
fs::path CacheRepo::incomplete(const std::string& etag) const {
  return folder_ / "blobs" / str(etag, ".", random_digits(), ".incomplete");
}

std::optional<std::string> CacheRepo::commit_of(const std::string& revision) const {
  if (is_commit(revision)) return revision;
  const fs::path file = folder_ / "refs" / revision;
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) return std::nullopt;
  std::string commit = read_file(file, 4096);
  while (!commit.empty() && std::isspace(static_cast<unsigned char>(commit.back()))) commit.pop_back();
  if (!is_commit(commit)) return std::nullopt;
  return commit;
}

std::optional<fs::path> CacheRepo::find(const std::string& commit, const std::string& path) const {
  const fs::path file = snapshot(commit) / path;
  if (!is_there(file)) return std::nullopt;
  return file;
}

void CacheRepo::make_folders() const {
  make_folder(folder_ / "blobs");
  make_folder(folder_ / "snapshots");
  if (!is_there(cache_ / "CACHEDIR.TAG")) write_file_atomically(cache_ / "CACHEDIR.TAG", kCacheTag);
}

void CacheRepo::write_ref(const std::string& revision, const std::string& commit) const {
  if (revision == commit || commit_of(revision) == commit) return;
  const fs::path file = folder_ / "refs" / revision;
  make_folder(file.parent_path());
  write_file_atomically(file, commit);
}

void CacheRepo::mark_missing(const std::string& commit, const std::string& path) const {
  const fs::path file = folder_ / ".no_exist" / commit / path;
  if (is_there(file)) return;
  make_folder(file.parent_path());
  write_file_atomically(file, "");
}

fs::path CacheRepo::link(const std::string& commit, const std::string& path, const std::string& etag) const {
  const fs::path place = snapshot(commit) / path;
  make_folder(place.parent_path());
  const fs::path target = blob(etag).lexically_relative(place.parent_path());
  if (environment_flag("HF_HUB_DISABLE_SYMLINKS") || !link_aside(target, place)) copy_aside(blob(etag), place);
  return place;
}

void CacheRepo::remove_stale(const std::string& etag) const {
  for (const auto& file : incomplete_files(folder_ / "blobs")) {
    if (!file.filename().string().starts_with(etag + ".")) continue;
    std::error_code error;
    const auto written = fs::last_write_time(file, error);
    if (!error && fs::file_time_type::clock::now() - written > kStale) fs::remove(file, error);
  }
}

bool is_commit(const std::string& revision) { return is_hex(revision, 40); }

void require_revision(const std::string& revision) {
  if (is_safe_repo_path(revision)) return;
  throw UsageError(str("the revision \"", revision, "\" is not the name of a branch, a tag or a commit"));
}

}  // namespace lorikeet
