// One file's bytes from the Hub into a new file here: resumed where a connection breaks, in several ranges at once
// where it is large, and checked against what the Hub promised.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "hub/api.h"

namespace lorikeet {

/// What is to come, and from where.
struct RemoteFile {
  std::string name;       // for messages: "unet/config.json of model owner/name"
  std::string url;        // on the Hub
  std::string first_url;  // where the Hub pointed when it was asked last; tried first, and without the token if foreign
  std::string etag;  // 64 digits: sha256 of the bytes; 40: git's sha1 of them as a blob; anything else tells nothing
  std::optional<int64_t> size;  // bytes
};

struct FetchOptions {
  int connections = 4;               // for files of more than one part
  int64_t part = int64_t{64} << 20;  // bytes
  RetryPolicy retry = RetryPolicy::usual();
  std::function<void(int64_t done)> progress = {};  // from the calling thread only
};

/// Writes the bytes to `path`, which must not exist; when something is thrown it does not exist either. Waits and tries
/// again as retry.h does, and does so anew whenever bytes have come in between. Bytes that are not those promised are
/// fetched once more, then refused. Throws HubAnswerError, ConnectionError, HubError; FileError for a disk that is
/// full, beforehand where the size is known; Interrupted.
void fetch_file(HubClient& client, const RemoteFile& file, const std::filesystem::path& path,
                const FetchOptions& options = {});

}  // namespace lorikeet
