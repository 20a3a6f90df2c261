// Several files of one commit into the cache.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "hub/download.h"

namespace lorikeet {

/// Those whose path matches one of `include` (all, when there is none) and none of `exclude`. Patterns are those of
/// Python's fnmatch: `*` goes across `/` too; one that ends with `/` means all that is below.
std::vector<RepoFile> matching_files(const std::vector<RepoFile>& files, const std::vector<std::string>& include,
                                     const std::vector<std::string>& exclude);

/// The files a Stable Diffusion model needs, of a repository's: model_index.json, the configs, tokenizer and scheduler,
/// and of unet, vae and text_encoder one set of weights: safetensors, whole or in shards, else .bin. With `variant`
/// weights of that variant (diffusion_pytorch_model.fp16.safetensors) only.
std::vector<RepoFile> model_files(const std::vector<RepoFile>& files, const std::string& variant = "");

/// Downloads `files` of `commit`, smallest first, and returns the snapshot's folder. When all are there,
/// refs/`revision` says `commit`. Throws FileError beforehand when the disk has no room for what is missing; else as
/// download_file does.
std::filesystem::path download_files(HubClient& client, const HubRepo& repo, const std::string& revision,
                                     const std::string& commit, std::vector<RepoFile> files,
                                     const DownloadOptions& options = {});

}  // namespace lorikeet
