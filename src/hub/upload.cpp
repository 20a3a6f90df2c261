#include "hub/upload.h"

#include <algorithm>
#include <exception>
#include <fstream>
#include <map>

#include "core/atomic_file.h"
#include "core/digest.h"
#include "core/errors.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/api_write.h"
#include "hub/base64.h"
#include "hub/hub_error.h"
#include "hub/lfs.h"
#include "hub/retry.h"
#include "hub/snapshot.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

constexpr size_t kSample = 512;
constexpr size_t kPiece = 1 << 20;
constexpr size_t kMostRegular = 64 << 20;  // of a file inside a commit; the Hub itself takes 10 MB
constexpr int kStale = 412;                // the commit's parent is not the last one any more
constexpr int kBadGateway = 502, kGatewayTimeOut = 504;

[[noreturn]] void fail_to_read(const fs::path& file) { throw FileError("cannot read " + file.string()); }

/// The sha256 of a file and its git blob id, read once.
struct Sums {
  std::string sha256, blob_id;
};

Sums sums_of(const fs::path& file, int64_t size) {
  RunningDigest sha256(RunningDigest::Kind::kSha256), sha1(RunningDigest::Kind::kSha1);
  sha1.update(str("blob ", size) + '\0');
  std::ifstream in(file, std::ios::binary);
  std::string piece(kPiece, '\0');
  for (int64_t left = size; left > 0;) {
    stop_if_requested();
    in.read(piece.data(), static_cast<std::streamsize>(std::min<int64_t>(kPiece, left)));
    if (in.gcount() == 0) fail_to_read(file);
    const std::string_view bytes(piece.data(), static_cast<size_t>(in.gcount()));
    sha256.update(bytes);
    sha1.update(bytes);
    left -= in.gcount();
  }
  return {.sha256 = sha256.hex(), .blob_id = sha1.hex()};
}

std::string first_bytes(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string sample(kSample, '\0');
  in.read(sample.data(), kSample);
  if (in.bad() || (!in && !in.eof())) fail_to_read(file);
  sample.resize(static_cast<size_t>(in.gcount()));
  return sample;
}

/// One push, from the question how to the commit.
class Push {
 public:
  Push(HubClient& client, const HubRepo& repo, const UploadOptions& options)
      : client_(client), repo_(repo), options_(options) {}

  UploadResult run(const std::vector<UploadFile>& files) {
    check_names(files);
    check_readme(files);
    plan(files);
    send_large();
    std::erase_if(items_, [](const auto& item) { return item.is_there(); });
    if (items_.empty()) {
      const std::string last = repo_info(client_, repo_, options_.revision).sha;
      return {.commit = last, .url = commit_url(repo_, last), .pull_request = {}, .changed = 0};
    }
    return commit();
  }

 private:
  struct Item {
    UploadFile file;
    int64_t size = 0;
    UploadPlan plan;
    Sums sums;
    bool is_there() const { return plan.remote_oid && *plan.remote_oid == (plan.lfs ? sums.sha256 : sums.blob_id); }
  };

  void check_names(const std::vector<UploadFile>& files) const {
    if (!is_utf8(options_.message)) throw UsageError("the commit's message is not written in UTF-8");
    for (const auto& file : files) {
      if (!is_utf8(file.path))
        throw UsageError(str("the name ", file.file, " is not written in UTF-8: rename the file"));
    }
  }

  void check_readme(const std::vector<UploadFile>& files) {
    for (const auto& file : files) {
      if (file.path == "README.md") check_card(client_, repo_, read_file(file.file, kMostRegular));
    }
  }

  void plan(const std::vector<UploadFile>& files) {
    std::vector<UploadQuestion> questions;
    for (const auto& file : files) {
      std::error_code error;
      const auto size = fs::file_size(file.file, error);
      if (error) throw FileError(str("cannot read ", file.file.string(), ": ", error.message()));
      questions.push_back({.path = file.path, .sample = first_bytes(file.file), .size = static_cast<int64_t>(size)});
    }
    const auto plans = plan_uploads(client_, repo_, options_.revision, questions, options_.create_pr);
    for (size_t i = 0; i < files.size(); ++i) {
      if (plans[i].ignored) {
        log_warning(str(files[i].path, " is left out: the repository's .gitignore says so"));
        continue;
      }
      const auto sums = sums_of(files[i].file, questions[i].size);
      items_.push_back({.file = files[i], .size = questions[i].size, .plan = plans[i], .sums = sums});
    }
  }

  void send_large() {
    std::vector<LfsFile> large;
    for (const auto& item : items_) {
      if (!item.plan.lfs) continue;
      large.push_back({item.file.file, item.file.path, item.sums.sha256, item.size});
    }
    if (large.empty()) return;
    const auto tell = [&](const LfsFile& file, int64_t bytes) {
      if (options_.sent) options_.sent(file.path, bytes, file.size);
    };
    upload_lfs_files(client_, repo_, options_.create_pr ? "" : options_.revision, large, tell);
  }

  std::vector<json> lines() const {
    std::vector<json> lines;
    for (const auto& item : items_) {
      if (item.plan.lfs) {
        lines.push_back(
            {{"key", "lfsFile"},
             {"value",
              {{"path", item.file.path}, {"algo", "sha256"}, {"oid", item.sums.sha256}, {"size", item.size}}}});
      } else {
        const std::string content = read_file(item.file.file, kMostRegular);
        lines.push_back({{"key", "file"},
                         {"value", {{"content", base64(content)}, {"path", item.file.path}, {"encoding", "base64"}}}});
      }
    }
    return lines;
  }

  UploadResult commit() {
    CommitHeader header{.summary = options_.message,
                        .description = "",
                        .revision = options_.revision,
                        .create_pr = options_.create_pr,
                        .parent = {}};
    const auto policy = RetryPolicy::usual();
    const auto operations = lines();
    bool is_under_way = false;  // it may be made yet: then it is only looked for
    std::exception_ptr why;
    for (int retry = 1;; ++retry) {
      try {
        if (!is_under_way) return result_of(send_commit(client_, repo_, header, operations));
      } catch (const HubAnswerError& error) {
        if (!is_worth_retrying(error.status()) && error.status() != kStale) throw;
        is_under_way = error.status() == kBadGateway || error.status() == kGatewayTimeOut;
        why = std::current_exception();
      } catch (const TimeOutError&) {
        is_under_way = true;
        why = std::current_exception();
      } catch (const ConnectionError&) {
        why = std::current_exception();
      }
      if (retry > policy.retries && is_under_way) {
        throw HubError(str("no answer came to the commit to the ", repo_text(repo_), ", and it is not there yet"),
                       "wait some minutes, and try again: nothing that is there by then is sent twice");
      }
      if (retry > policy.retries) std::rethrow_exception(why);
      if (header.create_pr) {
        throw HubError(str("no answer came to the pull request to the ", repo_text(repo_)),
                       str("look whether it is there, on ", repo_url(repo_, "/discussions"), ", before you try again"));
      }
      log_warning(str("no good answer came to the commit; looking whether it was made, try ", retry));
      wait_for_retry(policy.wait_before(retry));
      // Only on top of what is there now: should the first one still be on its way, this one is refused.
      header.parent = repo_info(client_, repo_, options_.revision).sha;
      if (is_made(*header.parent)) {
        return {.commit = *header.parent,
                .url = commit_url(repo_, *header.parent),
                .pull_request = {},
                .changed = items_.size()};
      }
    }
  }

  UploadResult result_of(const CommitAnswer& made) const {
    return {.commit = made.commit, .url = made.url, .pull_request = made.pull_request, .changed = items_.size()};
  }

  /// Whether a commit has all files as they are to be.
  bool is_made(const std::string& commit) {
    std::map<std::string, RepoFile> there;
    for (const auto& file : list_files(client_, repo_, commit)) there[file.path] = file;
    return std::all_of(items_.begin(), items_.end(), [&](const Item& item) {
      const auto found = there.find(item.file.path);
      if (found == there.end()) return false;
      return found->second.sha256 ? *found->second.sha256 == item.sums.sha256
                                  : found->second.blob_id == item.sums.blob_id;
    });
  }

  HubClient& client_;
  HubRepo repo_;
  const UploadOptions& options_;
  std::vector<Item> items_;
};

bool is_never_uploaded(const fs::path& relative) {
  fs::path before;
  for (const auto& part : relative) {
    if (part == ".git" || (part == "huggingface" && before == ".cache")) return true;
    before = part;
  }
  return is_unfinished_file(relative);
}

}  // namespace

std::vector<UploadFile> files_to_upload(const fs::path& folder, const std::vector<std::string>& include,
                                        const std::vector<std::string>& exclude, const std::string& path_in_repo) {
  if (!fs::is_directory(folder)) throw FileError(str("cannot read the folder ", folder.string(), ": there is none"));
  std::vector<fs::path> found;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const auto relative = entry.path().lexically_relative(folder);
    if (entry.is_regular_file() && !is_never_uploaded(relative)) found.push_back(relative);
  }
  std::sort(found.begin(), found.end());  // part by part, as Python sorts paths
  std::vector<RepoFile> named;
  for (const auto& path : found)
    named.push_back({.path = path.generic_string(), .size = 0, .blob_id = "", .sha256 = {}});
  std::vector<UploadFile> files;
  for (const auto& file : matching_files(named, include, exclude)) {
    const std::string path = path_in_repo.empty() ? file.path : path_in_repo + "/" + file.path;
    if (!is_safe_repo_path(path)) throw UsageError(str("\"", path, "\" cannot be the name of a file in a repository"));
    files.push_back({.file = folder / file.path, .path = path});
  }
  return files;
}

UploadResult upload_files(HubClient& client, const HubRepo& repo, const std::vector<UploadFile>& files,
                          const UploadOptions& options) {
  return Push(client, repo, options).run(files);
}

}  // namespace lorikeet
