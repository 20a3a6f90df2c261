#include "hub/download.h"

#include <charconv>
#include <utility>

#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/cache_writer.h"
#include "hub/curl_support.h"
#include "hub/environment.h"
#include "hub/file_lock.h"
#include "hub/hub_error.h"
#include "hub/server_text.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

constexpr size_t kMostEtag = 200;
constexpr int64_t kLargestFile = int64_t{1} << 50;
constexpr double kEtagTimeout = 10;

std::function<void(const DownloadState&)> g_watcher;

/// What a HEAD request tells of a file.
struct Metadata {
  std::string commit;
  RemoteFile file;
};

struct Wanted {
  const HubRepo& repo;
  const std::string& revision;
  const std::string& path;
};

std::optional<int64_t> size_of(const HttpResponse& head) {
  auto text = head.headers.find("X-Linked-Size");
  if (!text && head.status < 300) text = head.headers.find("Content-Length");
  int64_t size = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), size).ec != std::errc() || size < 0 ||
      size > kLargestFile) {
    return std::nullopt;
  }
  return size;
}

/// Without W/ and quotes; it becomes a file's name.
std::string etag_of(const HttpResponse& head, const std::string& url) {
  auto text = head.headers.find("X-Linked-Etag");
  if (!text) text = head.headers.find("ETag");
  std::string etag = text.value_or("");
  if (etag.starts_with("W/")) etag = etag.substr(2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') etag = etag.substr(1, etag.size() - 2);
  if (etag.size() > kMostEtag || !is_safe_repo_path(etag) || etag.find('/') != std::string::npos || etag[0] == '.') {
    throw HubError(str("the answer of ", shown_url(url), " has no usable ETag: \"", printable(etag, 100), "\""),
                   "is HF_ENDPOINT, where it is set, a Hugging Face Hub?");
  }
  return etag;
}

Metadata read_metadata(const Wanted& wanted, const HttpResponse& head) {
  Metadata metadata;
  metadata.commit = head.headers.find("X-Repo-Commit").value_or("");
  metadata.file.name = str(wanted.path, " of the ", repo_text(wanted.repo));
  metadata.file.url = resolve_url(wanted.repo, wanted.revision, wanted.path);
  if (!is_commit(metadata.commit)) {
    throw HubError(str("the answer of ", shown_url(metadata.file.url), " names no commit (X-Repo-Commit)"),
                   "is HF_ENDPOINT, where it is set, a Hugging Face Hub, and no proxy's login page in between?");
  }
  if (is_commit(wanted.revision) && metadata.commit != wanted.revision) {
    throw HubError(str("the answer of ", shown_url(metadata.file.url), " is of another commit: ", metadata.commit));
  }
  metadata.file.etag = etag_of(head, metadata.file.url);
  metadata.file.size = size_of(head);
  // What the Hub points to is exactly these bytes, even if the branch moves on meanwhile.
  const std::string location = joined_url(head.url, head.headers.find("location").value_or(""));
  const std::string last = head.status >= 300 && !origin_of(location).empty() ? location : head.url;
  if (last != metadata.file.url) metadata.file.first_url = last;
  return metadata;
}

HttpResponse ask(HubClient& client, const Wanted& wanted, bool with_retries) {
  auto request = client.request("HEAD", resolve_url(wanted.repo, wanted.revision, wanted.path));
  request.headers.add("Accept-Encoding", "identity");  // else the size would be that of something compressed
  request.timeout = environment_number("HF_HUB_ETAG_TIMEOUT", kEtagTimeout);
  auto policy = RetryPolicy::usual();
  if (!with_retries) policy.retries = 0;
  return client.send_with_retries(request, policy);
}

/// The Hub says that there is no such file: remembered for huggingface_hub, which then need not ask again.
void remember_missing(const CacheRepo& cache, const Wanted& wanted, const HttpResponse& head) {
  const std::string commit = head.headers.find("X-Repo-Commit").value_or("");
  if (head.status != 404 || problem_of(head, true) != HubProblem::kEntryNotFound || !is_commit(commit)) return;
  try {
    cache.mark_missing(commit, wanted.path);
    cache.write_ref(wanted.revision, commit);
  } catch (const FileError& error) {
    log_warning(error.what());
  }
}

bool is_final(HubProblem problem) {
  return problem == HubProblem::kEntryNotFound || problem == HubProblem::kRevisionNotFound;
}

/// Nothing when the Hub cannot be asked, and `known` can stand in.
std::optional<Metadata> metadata_of(HubClient& client, const CacheRepo& cache, const Wanted& wanted,
                                    const std::optional<fs::path>& known) {
  try {
    const auto head = ask(client, wanted, /*with_retries=*/!known);
    const bool is_redirect = head.status >= 300 && head.status < 400;
    remember_missing(cache, wanted, head);
    if (!is_redirect) require_success(head, wanted.repo, wanted.revision, wanted.path);
    return read_metadata(wanted, head);
  } catch (const HubAnswerError& error) {
    if (!known || is_final(error.problem())) throw;
    log_warning(str(error.what(), "; going on with ", known->string()));
  } catch (const HubError& error) {
    if (!known) throw;
    log_warning(str(error.what(), "; going on with ", known->string()));
  }
  return std::nullopt;
}

bool has_blob(const CacheRepo& cache, const RemoteFile& file) {
  std::error_code error;
  const auto size = fs::file_size(cache.blob(file.etag), error);
  return !error && (!file.size || size == static_cast<uintmax_t>(*file.size));
}

void fetch_blob(HubClient& client, const CacheRepo& cache, const Wanted& wanted, const RemoteFile& file,
                const DownloadOptions& options) {
  DownloadState state{wanted.path, 0, file.size.value_or(0)};
  auto fetch = options.fetch;
  fetch.progress = [&, outer = options.fetch.progress](int64_t done) {
    state.done = done;
    if (options.is_watched) tell_download(state);
    if (outer) outer(done);
  };
  const fs::path incomplete = cache.incomplete(file.etag);
  fetch_file(client, file, incomplete, fetch);
  std::error_code error;
  fs::rename(incomplete, cache.blob(file.etag), error);
  if (error) {
    std::error_code ignored;
    fs::remove(incomplete, ignored);
    throw FileError(str("cannot write ", cache.blob(file.etag).string(), ": ", error.message()));
  }
}

}  // namespace

fs::path download_file(HubClient& client, const HubRepo& repo, const std::string& revision, const std::string& path,
                       const DownloadOptions& options) {
  require_revision(revision);
  if (!is_safe_repo_path(path)) throw UsageError(str("\"", path, "\" is not a path inside a repository"));
  const Wanted wanted{repo, revision, path};
  const CacheRepo cache(repo);
  const auto commit = cache.commit_of(revision);
  const auto known = commit && !options.force ? cache.find(*commit, path) : std::nullopt;
  if (known && is_commit(revision)) return *known;

  const auto metadata = metadata_of(client, cache, wanted, known);
  if (!metadata) return *known;
  const auto present = cache.find(metadata->commit, path);
  if (present && !options.force) {
    try {
      cache.write_ref(revision, metadata->commit);
    } catch (const FileError&) {
      // A cache that may only be read is as good.
    }
    return *present;
  }
  cache.make_folders();
  const FileLock lock(cache.lock_file(metadata->file.etag));
  if (options.force || !has_blob(cache, metadata->file)) {
    cache.remove_stale(metadata->file.etag);
    fetch_blob(client, cache, wanted, metadata->file, options);
  }
  const fs::path place = cache.link(metadata->commit, path, metadata->file.etag);
  // Last: when the download fails, the revision stays what it was here, and its file can stand in.
  cache.write_ref(revision, metadata->commit);
  return place;
}

void tell_download(const DownloadState& state) {
  if (g_watcher) g_watcher(state);
}

void set_download_watcher(std::function<void(const DownloadState&)> watcher) { g_watcher = std::move(watcher); }

}  // namespace lorikeet
