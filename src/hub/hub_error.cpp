#include "hub/hub_error.h"

#include <nlohmann/json.hpp>

#include "core/text.h"
#include "hub/curl_support.h"
#include "hub/server_text.h"

namespace lorikeet {
namespace {

using nlohmann::json;

constexpr size_t kMostErrorBody = 1 << 20;
constexpr const char* kBadTokenWords = "Invalid credentials in Authorization header";
constexpr const char* kDisabledWords = "Access to this resource is disabled.";

std::string words_of_body(const std::string& body) {
  if (body.size() > kMostErrorBody) return "";
  const json content = parse_json(body);
  if (!content.is_object()) return "";
  std::string words;
  for (const char* name : {"error", "error_description", "message"}) {
    if (words.empty() && content.contains(name) && content[name].is_string()) words = content[name].get<std::string>();
  }
  if (!content.contains("errors") || !content["errors"].is_array()) return words;
  for (const auto& entry : content["errors"]) {
    if (!entry.is_object() || !entry.contains("message") || !entry["message"].is_string()) continue;
    words += (words.empty() ? "" : "; ") + entry["message"].get<std::string>();
  }
  return words;
}

std::string request_id(const HttpResponse& response) {
  for (const char* name : {"X-Request-Id", "X-Amzn-Trace-Id"}) {
    if (const auto id = response.headers.find(name)) return " (request " + printable(*id) + ")";
  }
  return "";
}

std::string place_of(const HubRepo& repo, const std::string& revision) {
  return revision.empty() || revision == "main" ? repo_text(repo) : str(repo_text(repo), " at ", revision);
}

std::string settings_url(const std::string& tail) { return hub_endpoint() + tail; }

/// What it means, for any request.
std::string meaning(HubProblem problem, int status) {
  switch (problem) {
    case HubProblem::kBadToken:
      return "the Hub does not know the token";
    case HubProblem::kForbidden:
      return "the token may not do this (403)";
    case HubProblem::kDisabled:
      return "the Hub has disabled access to it";
    case HubProblem::kTooManyRequests:
      return "the Hub has had too many requests from here (429)";
    case HubProblem::kServer:
      return str("the Hub has a problem of its own (", status, ")");
    case HubProblem::kProxy:
      return "the proxy on the way wants a name and a password (407)";
    case HubProblem::kRedirect:
      return str("the Hub points somewhere else, where it may not be followed (", status, ")");
    default:
      return str("the Hub answers ", status);
  }
}

std::string advice(HubProblem problem) {
  switch (problem) {
    case HubProblem::kBadToken:
      return "log in anew with `lorikeet auth login`, or set HF_TOKEN to a token of " +
             settings_url("/settings/tokens");
    case HubProblem::kForbidden:
      return "make a token that may, on " + settings_url("/settings/tokens") + ", and log in with it";
    case HubProblem::kTooManyRequests:
      return "wait some minutes; logged in, more requests are allowed";
    case HubProblem::kServer:
      return "try again later; https://status.huggingface.co tells more";
    case HubProblem::kProxy:
      return "put them into http_proxy: http://name:password@host:port; no_proxy excepts hosts";
    default:
      return "";
  }
}

[[noreturn]] void fail(HubProblem problem, const HttpResponse& response, std::string message, const std::string& hint) {
  const std::string words = server_words(response);
  if (!words.empty()) message += ": " + words;
  throw HubAnswerError(problem, response.status, message + request_id(response), hint);
}

}  // namespace

HubProblem problem_of(const HttpResponse& response, bool on_repo) {
  const std::string code = response.headers.find("X-Error-Code").value_or("");
  const std::string words = response.headers.find("X-Error-Message").value_or("");
  const int status = response.status;
  if (code == "RevisionNotFound") return HubProblem::kRevisionNotFound;
  if (code == "EntryNotFound") return HubProblem::kEntryNotFound;
  if (code == "GatedRepo") return HubProblem::kGated;
  if (words == kDisabledWords) return HubProblem::kDisabled;
  if (code == "RepoNotFound") return HubProblem::kRepoNotFound;
  if (status == 401) return on_repo && words != kBadTokenWords ? HubProblem::kRepoNotFound : HubProblem::kBadToken;
  if (status == 403) return HubProblem::kForbidden;
  if (status == 407) return HubProblem::kProxy;
  if (status == 409) return HubProblem::kConflict;
  if (status == 429) return HubProblem::kTooManyRequests;
  if (status == 408 || status >= 500) return HubProblem::kServer;
  if (status >= 300 && status < 400) return HubProblem::kRedirect;
  return HubProblem::kOther;
}

std::string server_words(const HttpResponse& response) {
  std::string words = response.headers.find("X-Error-Message").value_or("");
  if (words.empty()) words = words_of_body(response.body);
  return printable(words);
}

void require_done(const HttpResponse& response, const std::string& what) {
  if (response.status >= 200 && response.status < 300) return;
  const auto problem = problem_of(response, /*on_repo=*/false);
  fail(problem, response, str("cannot ", what, ": ", meaning(problem, response.status)), advice(problem));
}

void require_success(const HttpResponse& response, const std::string& what) { require_done(response, "read " + what); }

void require_success(const HttpResponse& response, const HubRepo& repo, const std::string& revision,
                     const std::string& path) {
  if (response.status >= 200 && response.status < 300) return;
  const auto problem = problem_of(response, /*on_repo=*/true);
  const std::string place = place_of(repo, revision);
  switch (problem) {
    case HubProblem::kRepoNotFound:
      fail(problem, response,
           str("there is no ", repo_text(repo), " on ", hub_endpoint(),
               ", or it is private and your token may not see it"),
           "look at the spelling; for a private one log in with `lorikeet auth login`, or set HF_TOKEN");
    case HubProblem::kRevisionNotFound:
      fail(problem, response, str("the ", repo_text(repo), " has no revision \"", revision, "\""),
           str("its branches and tags are listed on ", repo_url(repo, "/tree/main")));
    case HubProblem::kEntryNotFound:
      fail(problem, response, str("the ", place, " has no ", path.empty() ? "such file" : "file " + path),
           str("`lorikeet hub ls ", repo.id, "` lists what it has"));
    case HubProblem::kGated:
      fail(problem, response, str("the ", repo_text(repo), " is gated: its owner asks you to accept terms first"),
           str("accept them on ", repo_url(repo), " and log in with `lorikeet auth login`"));
    default:
      break;
  }
  const std::string what = path.empty() ? "the " + place : path + " of the " + place;
  const std::string missing = response.status == 404 ? str(what, " does not exist on ", hub_endpoint(), " (404)")
                                                     : str(what, ": ", meaning(problem, response.status));
  fail(problem, response, missing, advice(problem));
}

}  // namespace lorikeet
