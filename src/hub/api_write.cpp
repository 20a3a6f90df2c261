#include "hub/api_write.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/base64.h"
#include "hub/environment.h"
#include "hub/hub_error.h"
#include "hub/server_text.h"

namespace lorikeet {
namespace {

using nlohmann::json;

constexpr size_t kFilesPerQuestion = 256;
constexpr const char* kTryAgain = "another conflicting operation is in progress";
constexpr int kMostConflicts = 30;
constexpr double kSlowTimeout = 300;

std::string text_in(const json& object, const char* name) {
  return object.is_object() && object.contains(name) && object[name].is_string() ? object[name].get<std::string>() : "";
}

[[noreturn]] void refuse(const std::string& url, const std::string& what) {
  throw HubError(str("the answer of ", url.substr(0, url.find('?')), " ", what),
                 "is HF_ENDPOINT, where it is set, a Hugging Face Hub?");
}

bool exists(HubClient& client, const HubRepo& repo) {
  const auto response = client.send_with_retries(client.request("GET", api_url(repo)));
  return response.status == 200;
}

/// "- what; - what" of [{"message": ...}].
std::string messages(const json& answer, const char* name) {
  std::string text;
  if (!answer.is_object() || !answer.contains(name) || !answer[name].is_array()) return text;
  for (const auto& entry : answer[name]) text += (text.empty() ? "" : "; ") + text_in(entry, "message");
  return printable(text);
}

json question_body(const UploadQuestion* files, size_t count) {
  json list = json::array();
  for (size_t i = 0; i < count; ++i) {
    list.push_back({{"path", files[i].path}, {"sample", base64(files[i].sample)}, {"size", files[i].size}});
  }
  return {{"files", list}};
}

UploadPlan read_plan(const json& entry, const std::string& url) {
  const std::string mode = text_in(entry, "uploadMode");
  if (mode != "lfs" && mode != "regular") refuse(url, "does not say how a file is to be uploaded");
  UploadPlan plan{.lfs = mode == "lfs", .ignored = entry.value("shouldIgnore", json(false)) == true, .remote_oid = {}};
  if (const auto oid = text_in(entry, "oid"); !oid.empty()) plan.remote_oid = oid;
  return plan;
}

}  // namespace

std::string create_repo(HubClient& client, const HubRepo& repo, std::optional<bool> is_private) {
  const size_t slash = repo.id.find('/');
  json body = {{"name", slash == std::string::npos ? repo.id : repo.id.substr(slash + 1)}};
  body["organization"] = slash == std::string::npos ? json(nullptr) : json(repo.id.substr(0, slash));
  if (is_private) body["visibility"] = *is_private ? "private" : "public";
  if (repo.type != RepoType::kModel) body["type"] = repo_type_name(repo.type);
  HttpResponse response;
  for (int i = 0; i < kMostConflicts; ++i) {
    response = client.send_with_retries(client.post(hub_endpoint() + "/api/repos/create", body));
    if (response.status != 409 || response.body.find(kTryAgain) == std::string::npos) break;
    wait_for_retry(RetryPolicy::usual().first);
  }
  const bool may_exist = response.status == 401 || response.status == 402 || response.status == 403;
  if (may_exist && slash != std::string::npos && exists(client, repo)) return repo.id;
  if (response.status != 409) require_done(response, "make the " + repo_text(repo));
  if (slash != std::string::npos) return repo.id;
  const json answer = parse_answer(response);
  // KohakuHub and the Hub disagree on the names; the URL has it in both.
  const std::string url = text_in(answer, "url");
  const size_t name = url.rfind('/');
  const size_t owner = name == std::string::npos || name == 0 ? name : url.rfind('/', name - 1);
  if (owner == std::string::npos) refuse(response.url, "does not name the repository");
  return url.substr(owner + 1);
}

void check_write_access(HubClient& client, const HubRepo& repo) {
  const auto response = client.send_with_retries(client.request("GET", api_url(repo, "/auth-check/write")));
  if (response.status == 404 && !response.headers.find("X-Error-Code")) return;  // a server without this question
  require_success(response, repo);
}

void check_card(HubClient& client, const HubRepo& repo, const std::string& content) {
  const std::string url = hub_endpoint() + "/api/validate-yaml";
  if (!is_utf8(content)) throw FormatError("README.md is not written in UTF-8");
  const auto response =
      client.send_with_retries(client.post(url, {{"content", content}, {"repoType", repo_type_name(repo.type)}}));
  const json answer = parse_json(response.body);
  if (const auto warnings = messages(answer, "warnings"); !warnings.empty()) log_warning("README.md: " + warnings);
  if (response.status == 400) {
    throw HubError("the Hub does not accept the metadata of README.md: " + messages(answer, "errors"),
                   "correct what stands between the --- lines at its top");
  }
  require_done(response, "have README.md looked at");
}

std::vector<UploadPlan> plan_uploads(HubClient& client, const HubRepo& repo, const std::string& revision,
                                     const std::vector<UploadQuestion>& files, bool create_pr) {
  const std::string url =
      api_url(repo, str("/preupload/", url_quote(revision, false), create_pr ? "?create_pr=1" : ""));
  std::vector<UploadPlan> plans;
  for (size_t at = 0; at < files.size(); at += kFilesPerQuestion) {
    const size_t count = std::min(kFilesPerQuestion, files.size() - at);
    const auto response = client.send_with_retries(client.post(url, question_body(&files[at], count)));
    require_success(response, repo, revision);
    const json answer = parse_answer(response);
    std::map<std::string, UploadPlan> found;
    if (answer.is_object() && answer.contains("files") && answer["files"].is_array()) {
      for (const auto& entry : answer["files"]) found[text_in(entry, "path")] = read_plan(entry, url);
    }
    for (size_t i = at; i < at + count; ++i) {
      if (!found.contains(files[i].path)) refuse(url, "does not mention " + files[i].path);
      plans.push_back(found[files[i].path]);
      if (files[i].size == 0) plans.back().lfs = false;  // storage takes no empty objects
    }
  }
  return plans;
}

CommitAnswer send_commit(HubClient& client, const HubRepo& repo, const CommitHeader& header,
                         const std::vector<json>& lines) {
  auto request = client.request("POST", api_url(repo, str("/commit/", url_quote(header.revision, false),
                                                          header.create_pr ? "?create_pr=1" : "")));
  request.headers.add("Content-Type", "application/x-ndjson");
  json first = {{"summary", header.summary}, {"description", header.description}};
  if (header.parent) first["parentCommit"] = *header.parent;
  std::string body = json({{"key", "header"}, {"value", first}}).dump() + "\n";
  for (const auto& line : lines) body += line.dump() + "\n";
  request.body = std::move(body);
  request.once = true;
  request.timeout = slow_timeout();
  const auto response = client.send(request);
  require_success(response, repo, header.revision);
  const json answer = parse_answer(response);
  CommitAnswer made{.commit = printable(text_in(answer, "commitOid")),
                    .url = printable(text_in(answer, "commitUrl")),
                    .pull_request = {}};
  if (made.commit.empty()) refuse(request.url, "names no commit");
  if (!made.url.starts_with("http")) made.url = commit_url(repo, made.commit);
  if (const auto url = text_in(answer, "pullRequestUrl"); !url.empty()) made.pull_request = printable(url);
  return made;
}

bool is_utf8(const std::string& text) {
  try {
    return !json(text).dump().empty();
  } catch (const json::type_error&) {
    return false;
  }
}

double slow_timeout() { return environment_number("HF_HUB_DOWNLOAD_TIMEOUT", kSlowTimeout); }

std::string commit_url(const HubRepo& repo, const std::string& commit) { return repo_url(repo, "/commit/" + commit); }

}  // namespace lorikeet
