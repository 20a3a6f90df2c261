#include "hub/snapshot.h"

#include <fnmatch.h>

#include <algorithm>
#include <limits>
#include <set>

#include "hub/cache_writer.h"
#include "hub/new_file.h"
#include "hub/small_files.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

bool matches_one(const std::string& path, const std::vector<std::string>& patterns) {
  return std::any_of(patterns.begin(), patterns.end(), [&](std::string pattern) {
    if (pattern.ends_with('/')) pattern += '*';
    return ::fnmatch(pattern.c_str(), path.c_str(), FNM_NOESCAPE) == 0;
  });
}

constexpr const char* kSmallFiles[] = {"model_index.json",
                                       "unet/config.json",
                                       "vae/config.json",
                                       "text_encoder/config.json",
                                       "scheduler/scheduler_config.json",
                                       "tokenizer/tokenizer.json",
                                       "tokenizer/vocab.json",
                                       "tokenizer/merges.txt",
                                       "tokenizer/tokenizer_config.json",
                                       "tokenizer/special_tokens_map.json",
                                       "tokenizer/added_tokens.json"};

/// The paths of one component's weights, in the order of preference that loading has (models/weight_loading.h).
std::vector<std::string> weight_files(const std::set<std::string>& paths, const std::string& part,
                                      const std::string& stem, const std::string& suffix) {
  const std::string base = part + "/" + stem;
  if (paths.contains(base + suffix + ".safetensors")) return {base + suffix + ".safetensors"};
  const std::string index = base + ".safetensors.index" + suffix + ".json";
  if (paths.contains(index)) {
    std::vector<std::string> files = {index};
    const std::string shard = base + suffix + "-";
    for (const auto& path : paths) {
      if (path.starts_with(shard) && path.ends_with(".safetensors")) files.push_back(path);
    }
    return files;
  }
  const std::string pickled = part + "/" + (stem == "model" ? "pytorch_model" : stem) + suffix + ".bin";
  if (paths.contains(pickled)) return {pickled};
  return {};
}

}  // namespace

std::vector<RepoFile> matching_files(const std::vector<RepoFile>& files, const std::vector<std::string>& include,
                                     const std::vector<std::string>& exclude) {
  std::vector<RepoFile> found;
  for (const auto& file : files) {
    if (!include.empty() && !matches_one(file.path, include)) continue;
    if (!matches_one(file.path, exclude)) found.push_back(file);
  }
  return found;
}

std::vector<RepoFile> model_files(const std::vector<RepoFile>& files, const std::string& variant) {
  std::set<std::string> paths;
  for (const auto& file : files) paths.insert(file.path);
  std::set<std::string> wanted(std::begin(kSmallFiles), std::end(kSmallFiles));
  const std::string suffix = variant.empty() ? "" : "." + variant;
  for (const auto& [part, stem] : {std::pair("unet", "diffusion_pytorch_model"),
                                   std::pair("vae", "diffusion_pytorch_model"), std::pair("text_encoder", "model")}) {
    for (auto& path : weight_files(paths, part, stem, suffix)) wanted.insert(std::move(path));
  }
  std::vector<RepoFile> found;
  for (const auto& file : files) {
    if (wanted.contains(file.path)) found.push_back(file);
  }
  return found;
}

fs::path download_files(HubClient& client, const HubRepo& repo, const std::string& revision, const std::string& commit,
                        std::vector<RepoFile> files, const DownloadOptions& options) {
  require_revision(revision);
  const CacheRepo cache(repo);
  std::erase_if(files, [&](const RepoFile& file) { return !options.force && cache.find(commit, file.path); });
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  int64_t bytes = 0;
  for (const auto& file : files)
    bytes = file.size > kMost - bytes ? kMost : bytes + file.size;  // anything may be claimed
  cache.make_folders();
  require_space(cache.folder(), bytes);
  // What is wrong with a model shows before its gigabytes come.
  std::stable_sort(files.begin(), files.end(), [](const RepoFile& a, const RepoFile& b) { return a.size < b.size; });
  const auto large =
      std::find_if(files.begin(), files.end(), [](const RepoFile& file) { return file.size >= kSmallFile; });
  download_small_files(client, repo, commit, {files.begin(), large}, options);
  for (auto file = large; file != files.end(); ++file) download_file(client, repo, commit, file->path, options);
  // Last: until then the revision stays what it was here, and whole.
  cache.write_ref(revision, commit);
  return cache.snapshot(commit);
}

}  // namespace lorikeet
