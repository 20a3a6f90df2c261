// Asking the Hub's API to change something: repositories and commits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hub/api.h"

namespace lorikeet {

/// Makes a repository unless there is one; its id, with the owner, for an `id` without one is the token's owner's.
/// Where the token may not make any (401, 402, 403) one that exists is fine. `is_private` unset: as its owner's
/// settings say. Throws HubAnswerError.
std::string create_repo(HubClient& client, const HubRepo& repo, std::optional<bool> is_private = std::nullopt);

/// Throws HubAnswerError unless the token may commit to the repository.
void check_write_access(HubClient& client, const HubRepo& repo);

/// Has the Hub look at a README's metadata: what it warns of is logged. Throws HubError with what it does not accept.
void check_card(HubClient& client, const HubRepo& repo, const std::string& content);

/// How the Hub wants one file.
struct UploadPlan {
  bool lfs = false;                       // else inside the commit
  bool ignored = false;                   // by the repository's .gitignore
  std::optional<std::string> remote_oid;  // what is there by that name: git's sha1, or the sha256 of a large file
};
struct UploadQuestion {
  std::string path;    // in the repository
  std::string sample;  // its first 512 bytes
  int64_t size = 0;
};
/// One plan for each, in their order.
std::vector<UploadPlan> plan_uploads(HubClient& client, const HubRepo& repo, const std::string& revision,
                                     const std::vector<UploadQuestion>& files, bool create_pr);

struct CommitHeader {
  std::string summary, description;
  std::string revision = "main";
  bool create_pr = false;
  std::optional<std::string> parent;  // the commit it must follow, else it is refused with 412
};
struct CommitAnswer {
  std::string commit, url;
  std::optional<std::string> pull_request;  // its URL
};
/// Sends it once: when no answer comes, it may have been done. `lines`: the operations, one JSON object each.
/// Throws ConnectionError, HubAnswerError.
CommitAnswer send_commit(HubClient& client, const HubRepo& repo, const CommitHeader& header,
                         const std::vector<nlohmann::json>& lines);

/// Whether JSON, and so a request, can hold it.
bool is_utf8(const std::string& text);

/// How many seconds to wait for what takes a server its time, such as a commit of large files:
/// $HF_HUB_DOWNLOAD_TIMEOUT, or 300. (huggingface_hub waits without end.)
double slow_timeout();

/// ENDPOINT/ID/commit/COMMIT
std::string commit_url(const HubRepo& repo, const std::string& commit);

}  // namespace lorikeet
