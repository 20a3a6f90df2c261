// Many small files of one commit: a data set's pictures would else cost two round trips each, one after another.
#pragma once

#include <string>
#include <vector>

#include "hub/download.h"

namespace lorikeet {

/// Files below this many bytes are small: the connection's delay is what they cost.
inline constexpr int64_t kSmallFile = int64_t{8} << 20;

/// Downloads `files` of `commit` over several connections at once; whoever watches downloads is told of all of them
/// together, as "47 files". The first failure ends the others after the file each is at, and is thrown, as
/// download_file does.
void download_small_files(const HubClient& client, const HubRepo& repo, const std::string& commit,
                          const std::vector<RepoFile>& files, const DownloadOptions& options);

}  // namespace lorikeet
