// One file of a repository into the cache.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "hub/api.h"
#include "hub/fetch.h"

namespace lorikeet {

struct DownloadOptions {
  bool force = false;      // fetch it even if it is there
  bool is_watched = true;  // tell the watcher
  FetchOptions fetch = {};
};

/// The file's place in the cache, after fetching what is missing. One HEAD request tells which commit and which bytes
/// `revision` means; none is sent for a 40-digit commit whose file is there. Where the Hub cannot be asked, or refuses,
/// and the revision's last known file is there, that is it, with a warning.
/// Downloads of one file by several programs, huggingface_hub among them, wait for each other.
/// Throws HubAnswerError (no such repository, revision, file; ...), ConnectionError, HubError for a server that is no
/// Hub or sends other bytes than promised, FileError, Interrupted, UsageError for a path or revision that is none.
std::filesystem::path download_file(HubClient& client, const HubRepo& repo, const std::string& revision,
                                    const std::string& path, const DownloadOptions& options = {});

/// Whoever shows downloads, as log.h's sink shows lines: `total` is 0 where it is not known; `done` equals it at the
/// end.
struct DownloadState {
  std::string name;             // "unet/diffusion_pytorch_model.safetensors"
  int64_t done = 0, total = 0;  // bytes
};
/// Every watched download tells it, from the thread it was called in. An empty one ends that.
void set_download_watcher(std::function<void(const DownloadState&)> watcher);
/// Tells the watcher, if there is one.
void tell_download(const DownloadState& state);

}  // namespace lorikeet
