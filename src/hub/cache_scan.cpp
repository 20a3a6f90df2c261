#include "hub/cache_scan.h"

#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/text.h"
#include "hub/cache.h"
#include "hub/shared_blobs.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

const std::map<std::string, std::string>& repo_types() {
  static const std::map<std::string, std::string> types = {
      {"models", "model"}, {"datasets", "dataset"}, {"spaces", "space"}, {"kernels", "kernel"}};
  return types;
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

/// What file browsers put anywhere.
bool is_litter(const fs::path& path) {
  const std::string name = path.filename();
  return name == ".DS_Store" || name == "Thumbs.db" || name == "desktop.ini";
}

std::vector<fs::path> entries_of_meaning(const fs::path& folder) {
  auto found = folder_entries(folder);
  std::erase_if(found, is_litter);
  return found;
}

double seconds(const timespec& time) {
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// The latest of several files' times.
struct Times {
  double accessed = 0, modified = 0;
  void add(const fs::path& path) {
    struct stat about = {};
    if (::stat(path.c_str(), &about) != 0) return;
    accessed = std::max(accessed, seconds(about.st_atim));
    modified = std::max(modified, seconds(about.st_mtim));
  }
};

class Scan {
 public:
  explicit Scan(CacheContents& contents) : contents_(contents) {}

  void repository(const fs::path& folder) {
    CachedRepo repo;
    if (!read_name(folder, repo)) return;
    auto refs = references(folder / "refs");
    Times times;
    std::map<fs::path, int64_t> blobs;
    for (const auto& snapshot : entries_of_meaning(folder / "snapshots")) {
      if (!is_folder(snapshot)) {
        warn(str(snapshot.string(), " is no snapshot"));
        continue;
      }
      const auto [first, last] = refs.equal_range(snapshot.filename());
      repo.revisions.push_back(revision(snapshot, times, blobs));
      for (auto ref = first; ref != last; ++ref) repo.revisions.back().refs.push_back(ref->second);
      std::sort(repo.revisions.back().refs.begin(), repo.revisions.back().refs.end());
      refs.erase(first, last);
    }
    for (const auto& [commit, ref] : refs) {
      warn(str((folder / "refs" / ref).string(), " means a commit of which nothing is here: ", commit.substr(0, 80)));
    }
    if (blobs.empty()) times.add(folder);
    for (const auto& [blob, size] : blobs) repo.size += size;
    repo.accessed = times.accessed;
    repo.modified = times.modified;
    contents_.repos.push_back(std::move(repo));
    for (const auto& blob : entries_of_meaning(folder / "blobs")) {
      if (blob.extension() == ".incomplete") contents_.incomplete.push_back(blob);
    }
  }

 private:
  /// Names by commit.
  std::multimap<std::string, std::string> references(const fs::path& folder) {
    std::multimap<std::string, std::string> refs;
    std::error_code error;
    for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
      std::error_code ignored;
      if (!at->is_regular_file(ignored) || is_litter(at->path())) continue;
      try {
        std::string commit = read_file(at->path(), 4096);
        while (!commit.empty() && std::isspace(static_cast<unsigned char>(commit.back()))) commit.pop_back();
        refs.emplace(commit, at->path().lexically_relative(folder).string());
      } catch (const FileError& unreadable) {
        warn(unreadable.what());
      }
    }
    return refs;
  }

  bool read_name(const fs::path& folder, CachedRepo& repo) {
    const std::string name = folder.filename();
    const size_t end = name.find("--");
    const auto type = end == std::string::npos ? repo_types().end() : repo_types().find(name.substr(0, end));
    const bool has_content =
        is_folder(folder / "snapshots") || is_folder(folder / "blobs") || is_folder(folder / "refs");
    if (type == repo_types().end() || !has_content) {
      warn(str(folder.string(), " is not a repository of the cache"));
      return false;
    }
    repo.type = type->second;
    repo.id = name.substr(end + 2);
    for (size_t at = 0; (at = repo.id.find("--", at)) != std::string::npos; ++at) repo.id.replace(at, 2, "/");
    repo.folder = folder;
    return true;
  }

  CachedRevision revision(const fs::path& snapshot, Times& times, std::map<fs::path, int64_t>& blobs) {
    CachedRevision revision;
    revision.commit = snapshot.filename();
    revision.folder = snapshot;
    revision.files = snapshot_files(snapshot);
    Times own;
    std::map<fs::path, int64_t> sizes;
    for (const auto& file : revision.files) {
      std::error_code error;
      if (!fs::exists(file.blob, error)) warn(str(file.place.string(), " leads nowhere"));
      sizes.emplace(file.blob, file.size);
      own.add(file.blob);
    }
    if (revision.files.empty()) own.add(snapshot);
    for (const auto& [blob, size] : sizes) revision.size += size;
    revision.modified = own.modified;
    blobs.merge(sizes);
    if (!revision.files.empty()) {
      times.accessed = std::max(times.accessed, own.accessed);
      times.modified = std::max(times.modified, own.modified);
    }
    return revision;
  }

  void warn(std::string text) { contents_.warnings.push_back(std::move(text)); }

  CacheContents& contents_;
};

/// Links to the shared blobs are counted there.
int64_t physical_size(const CacheContents& contents) {
  const SharedBlobs shared(contents.folder);
  std::set<fs::path> counted;
  int64_t size = 0;
  for (const auto& repo : contents.repos) {
    for (const auto& revision : repo.revisions) {
      for (const auto& file : revision.files) {
        if (counted.insert(file.blob).second && !shared.target_of(file.blob)) size += file.size;
      }
    }
  }
  for (const auto& payload : shared.payloads()) {
    std::error_code error;
    const auto bytes = fs::file_size(payload, error);
    if (!error) size += static_cast<int64_t>(bytes);
  }
  return size;
}

}  // namespace

std::vector<std::string> CachedRepo::refs() const {
  std::set<std::string> all;
  for (const auto& revision : revisions) all.insert(revision.refs.begin(), revision.refs.end());
  return {all.begin(), all.end()};
}

fs::path link_target(const fs::path& link) {
  std::error_code error;
  const fs::path target = fs::read_symlink(link, error);
  if (error) return {};
  return (link.parent_path() / target).lexically_normal();  // an absolute target replaces the folder
}

std::vector<fs::path> folder_entries(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    found.push_back(at->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<CachedFile> snapshot_files(const fs::path& snapshot) {
  std::vector<CachedFile> files;
  std::error_code error;
  for (fs::recursive_directory_iterator at(snapshot, error), end; !error && at != end; at.increment(error)) {
    if (is_folder(at->path())) continue;
    CachedFile file;
    file.path = at->path().lexically_relative(snapshot).string();
    file.place = at->path();
    const fs::path target = link_target(at->path());
    file.blob = target.empty() ? at->path() : target;
    std::error_code missing;
    const auto size = fs::file_size(file.blob, missing);
    if (!missing) file.size = static_cast<int64_t>(size);
    files.push_back(std::move(file));
  }
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return files;
}

CacheContents scan_cache() {
  CacheContents contents;
  std::error_code error;
  contents.folder = fs::canonical(hub_cache_folder(), error);
  if (error || !is_folder(contents.folder)) {
    throw FileError(str("there is no cache ", hub_cache_folder().string()),
                    "nothing was fetched from the Hub yet; or HF_HOME or HF_HUB_CACHE names another folder");
  }
  Scan scan(contents);
  const bool is_shared = SharedBlobs(contents.folder).is_there();
  for (const auto& folder : entries_of_meaning(contents.folder)) {
    const std::string name = folder.filename();
    if (name == ".locks" || name == "CACHEDIR.TAG" || (name == "blobs" && is_shared)) continue;
    scan.repository(folder);
  }
  std::sort(contents.repos.begin(), contents.repos.end(),
            [](const auto& a, const auto& b) { return a.name() < b.name(); });
  contents.size = physical_size(contents);
  return contents;
}

}  // namespace lorikeet
