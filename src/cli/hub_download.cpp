#include <filesystem>
#include <iostream>

#include "cli/hub_commands.h"
#include "core/errors.h"
#include "core/listed.h"
#include "core/text.h"
#include "hub/cache.h"
#include "hub/cache_writer.h"
#include "hub/snapshot.h"
#include "hub/token.h"
#include "hub/tree_cache.h"

namespace lorikeet {
namespace {

TextList given(const std::optional<TextList>& list) { return list.value_or(TextList{}); }

std::vector<RepoFile> selected(const std::vector<RepoFile>& files, const HubDownloadOptions& options,
                               const HubRepo& repo) {
  auto found = options.pipeline ? model_files(files, options.variant.value_or(""))
                                : matching_files(files, given(options.include), given(options.exclude));
  const auto names = given(options.files);
  for (const auto& name : names) {
    const auto is_it = [&](const RepoFile& file) { return file.path == name; };
    if (std::none_of(found.begin(), found.end(), is_it)) {
      throw HubError(str("the ", repo_text(repo), " has no file ", name),
                     str("`lorikeet hub ls ", repo.id, "` lists what it has"));
    }
  }
  if (!names.empty()) {
    std::erase_if(
        found, [&](const RepoFile& file) { return std::find(names.begin(), names.end(), file.path) == names.end(); });
  }
  if (found.empty()) throw HubError(str("the ", repo_text(repo), " has no file that was asked for"));
  return found;
}

/// Without a request: what was asked for, when all of it is there.
std::filesystem::path cached_files(const HubRepo& repo, const HubDownloadOptions& options) {
  const CacheRepo cache(repo);
  const auto name = options.files && options.files->size() == 1 ? options.files->front() : "";
  const auto commit = cache.commit_of(options.revision);
  if (!name.empty() && commit && is_safe_repo_path(name)) {
    if (const auto file = cache.find(*commit, name)) return *file;
  }
  const auto listing = cached_revision(repo, options.revision);
  std::vector<std::string> missing;
  for (const auto& file : selected(listing.files, options, repo)) {
    if (!cache.find(listing.commit, file.path)) missing.push_back(file.path);
  }
  if (missing.empty()) return cache.snapshot(listing.commit);
  throw HubError(str("HF_HUB_OFFLINE is set, and of the ", repo_text(repo), " (revision ", options.revision,
                     ") the cache lacks ", listed(missing)),
                 "unset it to fetch what is missing");
}

void check(const HubDownloadOptions& options) {
  const bool patterns = options.include || options.exclude;
  if (options.pipeline && (patterns || options.files)) {
    throw UsageError("--pipeline chooses the files itself: expected no file, --include or --exclude beside it");
  }
  if (options.files && patterns) throw UsageError("files are named, and --include or --exclude given: expected one");
  if (options.variant && !options.pipeline) throw UsageError("--variant is for --pipeline");
}

}  // namespace

OptionList fields(HubDownloadOptions& o) {
  OptionList list;
  list.group("Arguments");
  list.add("repo", &o.repo, "Id on the Hub: owner/name.").required().positional();
  list.add("files", &o.files, "Files of it (default: all).").positional();
  list.group("What");
  add_repo_options(list, o.repo_type, o.revision, o.hub_token);
  list.add("include", &o.include, "Only files that match one of these patterns: \"*.json\", \"unet/*\".");
  list.add("exclude", &o.exclude, "No files that match one of these patterns.");
  list.add("pipeline", &o.pipeline,
           "Only what drawing and training need of a Stable Diffusion model, safetensors where there are any.");
  list.add("variant", &o.variant, "With --pipeline: weights of this variant, such as fp16.");
  list.group("How");
  list.add("force_download", &o.force_download, "Fetch also what is there.");
  list.add("connections", &o.connections, "Connections at once for a large file.").at_least(1).at_most(16);
  return list;
}

void hub_download(const HubDownloadOptions& options) {
  HubDownloadOptions copy = options;
  fields(copy).check();
  check(options);
  const auto repo = parse_repo(options.repo, options.repo_type);
  require_revision(options.revision);
  if (hub_is_offline()) {
    if (options.force_download) throw UsageError("--force_download, but HF_HUB_OFFLINE is set");
    std::cout << cached_files(repo, options).string() << "\n";
    return;
  }
  auto client = HubClient::for_downloads(options.hub_token ? options.hub_token : hub_token());
  DownloadOptions how;
  how.force = options.force_download;
  how.fetch.connections = static_cast<int>(options.connections);
  if (options.files && options.files->size() == 1) {
    std::cout << download_file(client, repo, options.revision, options.files->front(), how).string() << "\n";
    return;
  }
  const auto listing = list_revision(client, repo, options.revision);
  const auto files = selected(listing.files, options, repo);
  std::cout << download_files(client, repo, options.revision, listing.commit, files, how).string() << "\n";
}

}  // namespace lorikeet
