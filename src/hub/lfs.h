// Large files to the Hub's storage: git LFS with its transfers `basic` and the Hub's `multipart`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "hub/api.h"

namespace lorikeet {

struct LfsFile {
  std::filesystem::path file;
  std::string path;    // in the repository, for messages
  std::string sha256;  // of its content
  int64_t size = 0;
};

/// Uploads those that the storage does not have yet, one after another. The storage is another host: the token does not
/// go there. `sent` is told how many bytes of each file are there, from 0 to its size; without `revision` (a pull
/// request) nobody's right to write to it is looked at. Throws HubAnswerError, ConnectionError, HubError, FileError,
/// Interrupted.
void upload_lfs_files(HubClient& client, const HubRepo& repo, const std::string& revision,
                      const std::vector<LfsFile>& files,
                      const std::function<void(const LfsFile& file, int64_t bytes)>& sent = nullptr);

}  // namespace lorikeet
