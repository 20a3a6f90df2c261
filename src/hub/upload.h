// Files of this machine to a repository, in one commit.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "hub/api.h"

namespace lorikeet {

struct UploadFile {
  std::filesystem::path file;
  std::string path;  // in the repository
};

/// The files below `folder`, sorted, whose path in it matches one of `include` (all, when there is none) and none of
/// `exclude` (patterns: snapshot.h), under `path_in_repo`. Never .git and .cache/huggingface, nor files being written.
/// Throws FileError, UsageError for a name that cannot be a path in a repository.
std::vector<UploadFile> files_to_upload(const std::filesystem::path& folder, const std::vector<std::string>& include,
                                        const std::vector<std::string>& exclude, const std::string& path_in_repo = "");

struct UploadOptions {
  std::string message;
  std::string revision = "main";
  bool create_pr = false;
  /// Told how many bytes of each large file are sent, from 0 to its size; not of those that are there already.
  std::function<void(const std::string& path, int64_t bytes, int64_t size)> sent = nullptr;
};

struct UploadResult {
  std::string commit, url;
  std::optional<std::string> pull_request;  // its URL
  size_t changed = 0;                       // files in the commit; without any there is none, and `commit` is the last
};

/// What is there already, byte for byte, is left out. A commit whose answer was lost is looked for before it is sent
/// again, so that it is never made twice. Throws HubAnswerError, ConnectionError, HubError, FileError, Interrupted.
UploadResult upload_files(HubClient& client, const HubRepo& repo, const std::vector<UploadFile>& files,
                          const UploadOptions& options);

}  // namespace lorikeet
