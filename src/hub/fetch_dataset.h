// A data set's files by its id: those that a look at all their names, and at its card, picks.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace lorikeet {

/// What a commit of a repository holds.
struct RepoContents {
  std::string commit;              // 40 digits
  std::vector<std::string> paths;  // safe ones only, sorted by their bytes
  /// A small file's text; empty where there is no such file.
  std::function<std::string(const std::string& path)> read;
};

/// Fetches the files that `choose` picks of the data set `id` at `revision`, and returns the folder that holds them by
/// their paths. `choose` may throw. Asked anew every time; with $HF_HUB_OFFLINE, or where the Hub cannot be reached,
/// the cache stands in with what it has of the revision, after a warning in the latter case.
/// Throws HubError for a data set that is not there, and in neither place; and as download_files does.
std::filesystem::path fetch_dataset(
    const std::string& id, const std::string& revision,
    const std::function<std::vector<std::string>(const RepoContents& contents)>& choose);

}  // namespace lorikeet
