#include "hub/fetch.h"

#include <algorithm>
#include <memory>

#include "core/digest.h"
#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/hex.h"
#include "hub/new_file.h"
#include "hub/parallel_fetch.h"
#include "hub/range_fetch.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

constexpr size_t kBlock = 1 << 20;

/// What the etag says of the bytes; nothing for an etag of another kind.
class Check {
 public:
  Check(const std::string& etag, std::optional<int64_t> size) : etag_(etag) {
    if (is_hex(etag, 64)) digest_.emplace(RunningDigest::Kind::kSha256);
    if (is_hex(etag, 40) && size) {
      digest_.emplace(RunningDigest::Kind::kSha1);
      digest_->update(str("blob ", *size) + std::string(1, '\0'));
    }
  }
  void update(std::string_view bytes) {
    if (digest_) digest_->update(bytes);
  }
  /// Empty, or what is wrong.
  std::string verdict() {
    if (!digest_) return "";
    const std::string found = digest_->hex();
    if (found == etag_) return "";
    return str(etag_.size() == 64 ? "sha256 " : "git's sha1 ", found, ", ", etag_, " was promised");
  }

 private:
  std::string etag_;
  std::optional<RunningDigest> digest_;
};

/// For a size the server told only by sending it all.
void update_from(const NewFile& file, int64_t size, Check& check) {
  std::string block;
  for (int64_t at = 0; at < size; at += static_cast<int64_t>(block.size())) {
    block.resize(static_cast<size_t>(std::min<int64_t>(size - at, kBlock)));
    file.read(at, block.data(), block.size());
    check.update(block);
  }
}

class Fetch {
 public:
  Fetch(HubClient& client, const RemoteFile& file, NewFile& out, const FetchOptions& options)
      : client_(client), file_(file), out_(out), options_(options), request_(client.request("GET", file.url)) {}

  /// What is wrong with the bytes that came; empty when nothing is.
  std::string run() {
    if (file_.size == 0) return Check(file_.etag, 0).verdict();  // nothing to ask for
    const bool in_parts = file_.size && *file_.size > options_.part && options_.connections > 1 && !no_ranges_;
    if (!in_parts) return whole();
    try {
      return parts();
    } catch (const RangeIgnored&) {
      no_ranges_ = true;
      out_.clear();
      return whole();
    }
  }

 private:
  std::string whole() {
    Check check(file_.etag, file_.size);
    int64_t size = 0;
    RangeCallbacks callbacks;
    callbacks.send = [&](const HttpRequest& request) { return client_.send(request); };
    callbacks.take = [&](int64_t offset, std::string_view bytes) {
      out_.write(offset, bytes);
      check.update(bytes);
      size = offset + static_cast<int64_t>(bytes.size());
      if (options_.progress) options_.progress(size);
    };
    callbacks.restart = [&] {
      out_.clear();
      check = Check(file_.etag, file_.size);
      size = 0;
    };
    fetch_range(file_, request_, {0, file_.size, /*is_whole=*/true}, callbacks, options_.retry);
    if (!file_.size) {
      check = Check(file_.etag, size);
      update_from(out_, size, check);
    }
    return check.verdict();
  }

  std::string parts() {
    Check check(file_.etag, file_.size);
    fetch_in_parts(file_, request_, out_, options_, [&](std::string_view bytes) { check.update(bytes); });
    return check.verdict();
  }

  HubClient& client_;
  const RemoteFile& file_;
  NewFile& out_;
  const FetchOptions& options_;
  HttpRequest request_;
  bool no_ranges_ = false;
};

}  // namespace

void fetch_file(HubClient& client, const RemoteFile& file, const fs::path& path, const FetchOptions& options) {
  if (file.size) require_space(path.parent_path(), *file.size);
  NewFile out(path);
  Fetch fetch(client, file, out, options);
  std::string wrong = fetch.run();
  if (!wrong.empty()) {
    log_warning(str(file.name, ": the bytes that came are not those promised; fetching them once more"));
    out.clear();
    wrong = fetch.run();
  }
  if (!wrong.empty()) {
    throw HubError(str(file.name, ": the bytes that came have ", wrong, "; they were thrown away"),
                   "the server, or a proxy in between, changes them: try again later or over another network");
  }
  out.keep();
}

}  // namespace lorikeet
