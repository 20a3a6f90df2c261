// Asking the Hub's API: about repositories, their files, and whose token it is.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "hub/endpoint.h"
#include "hub/retry.h"
#include "hub/transport.h"

namespace lorikeet {

/// A token and the connections it is used on; one thread at a time.
class HubClient {
 public:
  /// Without a token what is public can be read. Throws HubError when $HF_HUB_OFFLINE forbids to ask the Hub,
  /// UsageError for text that can be no token.
  explicit HubClient(std::optional<std::string> token);
  /// The same, and the Hub counts what it fetches as downloads of the repositories.
  static HubClient for_downloads(std::optional<std::string> token);

  /// A request with our user agent and a trace id; to the Hub with the token, and to no other host.
  HttpRequest request(std::string method, std::string url) const;
  /// The same with a JSON body.
  HttpRequest post(std::string url, const nlohmann::json& body) const;

  /// Once, and with retries (retry.h). Warnings of the server (X-HF-Warning) are logged, once each.
  HttpResponse send(const HttpRequest& request);
  HttpResponse send_with_retries(const HttpRequest& request, const RetryPolicy& policy = RetryPolicy::usual());

  bool has_token() const { return token_.has_value(); }
  const std::optional<std::string>& token() const { return token_; }

 private:
  std::optional<std::string> token_;
  bool counts_ = false;
  HttpClient http_;
};

/// The body of an answer as JSON. Throws HubError naming its URL when it is none, or more than parse_json
/// (server_text.h) takes.
nlohmann::json parse_answer(const HttpResponse& response);

/// What a repository is at a revision.
struct RepoInfo {
  std::string sha;  // the commit, 40 digits
  bool is_private = false, is_gated = false;
  std::vector<std::string> files;  // paths; safe ones only (is_safe_repo_path)
};
/// Throws as require_success (hub_error.h) does.
RepoInfo repo_info(HubClient& client, const HubRepo& repo, const std::string& revision = "main");

struct RepoFile {
  std::string path;
  int64_t size = 0;
  std::string blob_id;                                 // git's sha1
  std::optional<std::string> sha256;                   // of a large file
  std::optional<std::string> xet_hash = std::nullopt;  // where the Hub has it in Xet; for other programs only
};
/// All files below `folder` (empty: the root), page by page, in the server's order. Throws HubError for a listing that
/// is not as it should be or names a path that is not safe.
std::vector<RepoFile> list_files(HubClient& client, const HubRepo& repo, const std::string& revision,
                                 const std::string& folder = "");

/// Whether a path in a listing stays inside the folder it is put in: relative, without `..`, `.`, empty parts,
/// backslashes and control characters.
bool is_safe_repo_path(const std::string& path);

/// Whose token it is.
struct HubUser {
  std::string name;
  std::vector<std::string> orgs;
  std::string token_name;  // as its owner called it
  std::string role;        // read, write, fineGrained; may be empty
};
/// Throws HubAnswerError with kBadToken for a token the Hub does not know.
HubUser whoami(HubClient& client);

}  // namespace lorikeet
