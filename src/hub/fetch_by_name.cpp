#include "hub/fetch_by_name.h"

#include <algorithm>

#include "core/errors.h"
#include "core/listed.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/asked_name.h"
#include "hub/cache.h"
#include "hub/cache_writer.h"
#include "hub/hub_error.h"
#include "hub/snapshot.h"
#include "hub/token.h"
#include "hub/tree_cache.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

fs::path download_model(const HubRepo& repo, const std::string& revision, const std::optional<std::string>& variant) {
  auto client = HubClient::for_downloads(hub_token());
  const auto listing = list_revision(client, repo, revision);
  const auto files = model_files(listing.files, variant.value_or(""));
  log_info(str("fetching ", repo_text(repo), " (revision ", revision, ", commit ", listing.commit.substr(0, 8), ")"));
  const auto has = [&](const char* path) {
    return std::any_of(files.begin(), files.end(), [&](const RepoFile& file) { return file.path == path; });
  };
  if (!has("model_index.json") || !has("unet/config.json")) {
    throw HubError(str("the ", repo_text(repo), " holds no Stable Diffusion model in Diffusers' layout"),
                   "a LoRA goes into --lora; a single file of a model is fetched with `lorikeet hub download`");
  }
  return download_files(client, repo, revision, listing.commit, files);
}

/// "owner/name/folder/file.safetensors" in its two halves; an id alone has no second.
std::pair<std::string, std::string> split_id(const std::string& name) {
  const size_t owner_end = name.find('/');
  const size_t end = owner_end == std::string::npos ? owner_end : name.find('/', owner_end + 1);
  if (end == std::string::npos) return {name, ""};
  return {name.substr(0, end), name.substr(end + 1)};
}

/// What a file that is named alone by its repository is called there.
struct FileKind {
  std::vector<std::string> names;     // the first that is there
  std::vector<std::string> suffixes;  // else the only one of these, at the top
  std::string of;                     // for messages: "a LoRA"

  bool has_suffix(const std::string& name) const {
    return std::any_of(suffixes.begin(), suffixes.end(), [&](const auto& suffix) { return name.ends_with(suffix); });
  }
};
const FileKind kLora = {{"pytorch_lora_weights.safetensors"}, {".safetensors"}, "a LoRA"};
const FileKind kLearnedWords = {
    {"learned_embeds.safetensors", "learned_embeds.bin"}, {".safetensors", ".bin", ".pt"}, "learned words"};

std::string file_in(const std::vector<std::string>& files, const HubRepo& repo, const FileKind& kind) {
  for (const auto& name : kind.names) {
    if (std::find(files.begin(), files.end(), name) != files.end()) return name;
  }
  std::vector<std::string> candidates;
  for (const auto& file : files) {
    if (kind.has_suffix(file) && file.find('/') == std::string::npos) candidates.push_back(file);
  }
  if (candidates.size() == 1) return candidates.front();
  throw HubError(str("the ", repo_text(repo), " has no ", kind.names.front(), ", and ",
                     candidates.empty() ? str("no other ", kind.suffixes.front(), " file")
                                        : "several others: " + listed(candidates)),
                 candidates.empty() ? str("is it the right one? A repository of ", kind.of, " was expected")
                                    : str("name one: ", repo.id, "/", candidates.front()));
}

bool has_some(const fs::path& snapshot, const std::vector<std::string>& patterns) {
  std::vector<RepoFile> files;
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(snapshot, error)) {
    RepoFile file;
    file.path = entry.path().lexically_relative(snapshot).string();
    if (entry.is_regular_file(error)) files.push_back(file);
  }
  return !matching_files(files, patterns, {}).empty();
}

/// What is in the cache of the repository's main revision.
std::optional<fs::path> cached_file(const HubRepo& repo, const std::string& path, const FileKind& kind) {
  const CacheRepo cache(repo);
  const auto commit = cache.commit_of("main");
  if (!commit) return std::nullopt;
  if (!path.empty()) return cache.find(*commit, path);
  std::vector<std::string> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(cache.snapshot(*commit), error)) {
    files.push_back(entry.path().filename().string());
  }
  if (files.empty()) return std::nullopt;
  return cache.find(*commit, file_in(files, repo, kind));
}

fs::path fetch_named(const std::string& name_or_path, const FileKind& kind) {
  const auto halves = split_id(name_or_path);
  const std::string &id = halves.first, &path = halves.second;
  const bool may_be_id =
      id.find('/') != std::string::npos && is_hub_id(id) && (path.empty() || is_safe_repo_path(path));
  if (is_there(name_or_path) || !may_be_id || kind.has_suffix(name_or_path) == path.empty()) return name_or_path;
  const HubRepo repo{id};
  if (hub_is_offline()) {
    if (const auto cached = cached_file(repo, path, kind)) return *cached;
    throw HubError(str("\"", name_or_path, "\" is no path here, and not in the cache ", hub_cache_folder().string()),
                   str("HF_HUB_OFFLINE is set; without it, it is fetched from the Hub"));
  }
  return asking_for(name_or_path, [&]() -> fs::path {
    auto client = HubClient::for_downloads(hub_token());
    try {
      const std::string file = path.empty() ? file_in(repo_info(client, repo).files, repo, kind) : path;
      return download_file(client, repo, "main", file);
    } catch (const ConnectionError& error) {
      const auto cached = cached_file(repo, path, kind);
      if (!cached) throw;
      log_warning(str(error.what(), "; going on with ", cached->string()));
      return *cached;
    }
  });
}

}  // namespace

fs::path fetch_model_folder(const std::string& name_or_path, const std::optional<std::string>& revision,
                            const std::optional<std::string>& variant) {
  if (is_there(name_or_path) || !is_hub_id(name_or_path) || hub_is_offline()) {
    return resolve_model_folder(name_or_path, revision, variant);
  }
  const std::string wanted = revision && !revision->empty() ? *revision : "main";
  const auto snapshot = cached_snapshot(name_or_path, wanted);
  if (snapshot && missing_model_files(*snapshot, variant).empty()) return *snapshot;

  const auto folder = asking_for(name_or_path, [&] { return download_model({name_or_path}, wanted, variant); });
  const auto missing = missing_model_files(folder, variant);
  if (missing.empty()) return folder;
  throw HubError(
      str("the model ", name_or_path, " on ", hub_endpoint(), " (revision ", wanted, ") lacks ", listed(missing, 4)),
      variant ? str("leave out the variant \"", *variant, "\", or name one it has") : "");
}

std::optional<fs::path> fetch_small_files(const std::string& id, const std::string& revision,
                                          const std::vector<std::string>& patterns) {
  const auto snapshot = cached_snapshot(id, revision);
  if (snapshot && has_some(*snapshot, patterns)) return snapshot;
  if (hub_is_offline()) return std::nullopt;
  return asking_for(id, [&] {
    const HubRepo repo{id};
    auto client = HubClient::for_downloads(hub_token());
    const auto listing = list_revision(client, repo, revision);
    const auto files = matching_files(listing.files, patterns, {});
    if (files.empty()) throw HubError(str("the ", repo_text(repo), " has none of ", listed(patterns)));
    return download_files(client, repo, revision, listing.commit, files);
  });
}

fs::path fetch_lora_file(const std::string& name_or_path) { return fetch_named(name_or_path, kLora); }
fs::path fetch_learned_words(const std::string& name_or_path) { return fetch_named(name_or_path, kLearnedWords); }

}  // namespace lorikeet
