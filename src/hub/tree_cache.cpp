#include "hub/tree_cache.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/hex.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

constexpr int kFormat = 1;
constexpr size_t kLargest = 256 << 20;

fs::path tree_file(const CacheRepo& cache, const std::string& commit) {
  return cache.folder() / "trees" / (commit + ".json");
}

std::optional<std::string> text_in(const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_string()) return std::nullopt;
  return found->get<std::string>();
}

std::optional<RepoFile> read_entry(const std::string& path, const json& entry) {
  if (!is_safe_repo_path(path) || !entry.is_object()) return std::nullopt;
  RepoFile file;
  file.path = path;
  const auto size = entry.find("size");
  const auto blob_id = text_in(entry, "blob_id");
  if (!blob_id || size == entry.end() || !size->is_number_integer() || *size < 0) return std::nullopt;
  file.size = size->get<int64_t>();
  file.blob_id = *blob_id;
  file.sha256 = text_in(entry, "lfs_sha256");
  file.xet_hash = text_in(entry, "xet_hash");
  if (file.size < 0) return std::nullopt;  // above what the type holds
  return file;
}

/// What cannot be kept is listed again, and no more.
void remember(const CacheRepo& cache, const RepoListing& listing) {
  const auto is_odd = [](const RepoFile& file) { return file.xet_hash && !is_hex(*file.xet_hash, 64); };
  if (std::any_of(listing.files.begin(), listing.files.end(), is_odd)) return;
  const fs::path file = tree_file(cache, listing.commit);
  std::error_code error;
  fs::create_directories(file.parent_path(), error);
  try {
    write_file_atomically(file, listing_text(listing.files));
  } catch (const FileError& unwritable) {
    log_warning(unwritable.what());
  }
}

}  // namespace

std::string listing_text(const std::vector<RepoFile>& files) {
  std::vector<const RepoFile*> sorted;
  for (const auto& file : files) sorted.push_back(&file);
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) { return a->path < b->path; });
  nlohmann::ordered_json entries = nlohmann::ordered_json::object();
  auto& list = entries.get_ref<nlohmann::ordered_json::object_t&>();
  for (const auto* file : sorted) {
    nlohmann::ordered_json entry = {{"size", file->size}, {"blob_id", file->blob_id}};
    if (file->sha256) {
      entry["lfs_sha256"] = *file->sha256;
      entry["lfs_size"] = file->size;
    }
    if (file->xet_hash) entry["xet_hash"] = *file->xet_hash;
    list.push_back({file->path, std::move(entry)});  // operator[] would look through all that are there
  }
  const nlohmann::ordered_json whole = {{"format_version", kFormat}, {"files", std::move(entries)}};
  return whole.dump(1, ' ', /*ensure_ascii=*/true, nlohmann::ordered_json::error_handler_t::replace);
}

std::optional<std::vector<RepoFile>> cached_listing(const CacheRepo& cache, const std::string& commit) {
  const fs::path file = tree_file(cache, commit);
  std::error_code ignored;
  if (!is_commit(commit) || !fs::is_regular_file(file, ignored)) return std::nullopt;
  std::vector<RepoFile> files;
  try {
    const json content = json::parse(read_file(file, kLargest), nullptr, /*allow_exceptions=*/false);
    if (!content.is_object() || content.value("format_version", json()) != kFormat) return std::nullopt;
    const auto entries = content.find("files");
    if (entries == content.end() || !entries->is_object()) return std::nullopt;
    for (const auto& [path, entry] : entries->items()) {
      auto read = read_entry(path, entry);
      if (!read) return std::nullopt;
      files.push_back(std::move(*read));
    }
  } catch (const FileError&) {
    return std::nullopt;
  }
  return files;
}

RepoListing list_revision(HubClient& client, const HubRepo& repo, const std::string& revision) {
  const CacheRepo cache(repo);
  RepoListing listing;
  listing.commit = is_commit(revision) ? revision : repo_info(client, repo, revision).sha;
  if (auto known = cached_listing(cache, listing.commit)) {
    listing.files = std::move(*known);
  } else {
    listing.files = list_files(client, repo, listing.commit);
    remember(cache, listing);
  }
  return listing;
}

RepoListing cached_revision(const HubRepo& repo, const std::string& revision) {
  require_revision(revision);
  const CacheRepo cache(repo);
  const auto commit = cache.commit_of(revision);
  auto files = commit ? cached_listing(cache, *commit) : std::nullopt;
  if (files) return {*commit, std::move(*files)};
  throw HubError(str("HF_HUB_OFFLINE is set, and the cache does not know what the ", repo_text(repo), " (revision ",
                     revision, ") holds"),
                 "unset it; what was fetched whole once, by `lorikeet hub download`, is known from then on");
}

}  // namespace lorikeet
