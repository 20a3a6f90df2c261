#include "hub/api.h"

#include <algorithm>
#include <mutex>
#include <random>
#include <set>
#include <utility>

#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/curl_support.h"
#include "hub/hex.h"
#include "hub/hub_error.h"
#include "hub/server_text.h"
#include "hub/stored_tokens.h"

namespace lorikeet {
namespace {

using nlohmann::json;

constexpr size_t kMostFiles = 1'000'000;
constexpr size_t kMostPath = 4096;
constexpr size_t kMostPathBytes = 256 << 20;  // of a whole listing
constexpr size_t kMostPages = 20'000;
constexpr size_t kMostEmptyPages = 20;
constexpr size_t kMostUrl = 8192;
constexpr int64_t kLargestFile = int64_t{1} << 50;

/// A version 4 UUID, by which the Hub's people find a request in their logs.
std::string trace_id() {
  std::random_device source;
  std::string text;
  constexpr char kHex[] = "0123456789abcdef";
  for (int i = 0; i < 32; ++i) {
    if (i == 8 || i == 12 || i == 16 || i == 20) text += '-';
    const unsigned digit = source() & 15;
    text += i == 12 ? '4' : kHex[i == 16 ? 8 + (digit & 3) : digit];
  }
  return text;
}

/// X-HF-Warning: "topic; message", told once per topic.
void tell_warning(const HttpResponse& response) {
  static std::mutex mutex;
  static std::set<std::string> told;
  const auto warning = response.headers.find("X-HF-Warning");
  if (!warning) return;
  const size_t end = warning->find(';');
  const std::string topic = end == std::string::npos ? "" : warning->substr(0, end);
  {
    const std::lock_guard lock(mutex);
    if (!told.insert(topic).second) return;
  }
  log_warning("the Hub says: " + printable(end == std::string::npos ? *warning : warning->substr(end + 1)));
}

std::string text_in(const json& object, const char* name) {
  return object.contains(name) && object[name].is_string() ? object[name].get<std::string>() : "";
}

[[noreturn]] void refuse(const HttpResponse& response, const std::string& what) {
  throw HubError(str("the answer of ", shown_url(response.url), " ", what),
                 "is HF_ENDPOINT, where it is set, a Hugging Face Hub, and no proxy's login page in between?");
}

/// The URL of rel="next" in a Link header.
std::optional<std::string> next_page(const HttpResponse& response) {
  const std::string link = response.headers.find("link").value_or("");
  size_t at = 0;
  while ((at = link.find('<', at)) != std::string::npos) {
    const size_t end = link.find('>', at);
    if (end == std::string::npos) return std::nullopt;
    const std::string rest = link.substr(end, link.find(',', end) - end);
    if (rest.find("rel=\"next\"") != std::string::npos) {
      return joined_url(response.url, at_endpoint(link.substr(at + 1, end - at - 1)));
    }
    at = end;
  }
  return std::nullopt;
}

RepoFile read_entry(const json& entry, const HttpResponse& response) {
  RepoFile file;
  file.path = text_in(entry, "path");
  if (!is_safe_repo_path(file.path)) {
    refuse(response, str("lists \"", printable(file.path, 200), "\", which is not a path inside the repository"));
  }
  file.blob_id = text_in(entry, "oid");
  if (entry.contains("size") && entry["size"].is_number_integer()) file.size = entry["size"].get<int64_t>();
  if (const auto hash = text_in(entry, "xetHash"); !hash.empty()) file.xet_hash = hash;
  if (entry.contains("lfs") && entry["lfs"].is_object()) {
    const auto& lfs = entry["lfs"];
    const std::string oid = text_in(lfs, "oid");
    if (!oid.empty()) file.sha256 = oid.starts_with("sha256:") ? oid.substr(7) : oid;
    if (lfs.contains("size") && lfs["size"].is_number_integer()) file.size = lfs["size"].get<int64_t>();
  }
  if (file.size < 0 || file.size > kLargestFile) {
    refuse(response, str("gives ", file.path, " a size of ", file.size));
  }
  return file;
}

/// The pages of a listing: a server that never ends it must not keep us, nor fill the memory.
struct Listing {
  std::vector<RepoFile> files;

  void add_page(const std::string& url, const HttpResponse& response) {
    const json content = parse_answer(response);
    if (!content.is_array()) refuse(response, "is no list of files");
    for (const auto& entry : content) {
      if (!entry.is_object()) refuse(response, "is no list of files");
      if (text_in(entry, "type") != "file") continue;
      files.push_back(read_entry(entry, response));
      path_bytes_ += files.back().path.size();
    }
    entries_ += content.size();
    empty_in_a_row_ = content.empty() ? empty_in_a_row_ + 1 : 0;
    asked_.insert(url);
  }

  bool may_go_on_at(const std::string& url) const {
    return url.size() <= kMostUrl && !asked_.contains(url) && asked_.size() < kMostPages && entries_ <= kMostFiles &&
           path_bytes_ <= kMostPathBytes && empty_in_a_row_ <= kMostEmptyPages;
  }

 private:
  std::set<std::string> asked_;
  size_t entries_ = 0, path_bytes_ = 0, empty_in_a_row_ = 0;
};

}  // namespace

HubClient::HubClient(std::optional<std::string> token) {
  if (token) token_ = clean_token(*token, "--hub_token");  // all others are clean
  if (hub_is_offline()) {
    throw HubError("HF_HUB_OFFLINE is set: the Hub may not be asked", "unset it, or give what is on this machine");
  }
}

HubClient HubClient::for_downloads(std::optional<std::string> token) {
  HubClient client(std::move(token));
  client.counts_ = true;
  return client;
}

HttpRequest HubClient::request(std::string method, std::string url) const {
  HttpRequest request;
  request.method = std::move(method);
  request.url = std::move(url);
  request.headers.add("user-agent", "lorikeet/" LORIKEET_VERSION);
  request.headers.add("X-Amzn-Trace-Id", trace_id());
  if (counts_) request.headers.add("X-HF-Download-Counter", "1");
  // An address out of an answer may be anywhere.
  if (is_hub_origin(request.url, hub_endpoint())) request.token = token_;
  return request;
}

HttpRequest HubClient::post(std::string url, const json& body) const {
  auto post = request("POST", std::move(url));
  post.headers.add("Content-Type", "application/json");
  post.body = body.dump();
  return post;
}

HttpResponse HubClient::send(const HttpRequest& request) {
  auto response = http_.send(request);
  tell_warning(response);
  return response;
}

HttpResponse HubClient::send_with_retries(const HttpRequest& request, const RetryPolicy& policy) {
  auto response = lorikeet::send_with_retries(http_, request, policy);
  tell_warning(response);
  return response;
}

json parse_answer(const HttpResponse& response) {
  auto content = parse_json(response.body);
  if (content.is_discarded()) refuse(response, "is no JSON, or far too much");
  return content;
}

RepoInfo repo_info(HubClient& client, const HubRepo& repo, const std::string& revision) {
  const auto response =
      client.send_with_retries(client.request("GET", api_url(repo, "/revision/" + url_quote(revision, false))));
  require_success(response, repo, revision);
  const json content = parse_answer(response);
  if (!content.is_object()) refuse(response, "is no description of a repository");
  RepoInfo info;
  info.sha = text_in(content, "sha");
  if (!is_hex(info.sha, 40)) {
    refuse(response, str("names no commit: \"", printable(info.sha, 100), "\""));
  }
  info.is_private = content.contains("private") && content["private"] == true;
  info.is_gated = content.contains("gated") && content["gated"] != false && !content["gated"].is_null();
  if (!content.contains("siblings") || !content["siblings"].is_array()) return info;
  for (const auto& sibling : content["siblings"]) {
    const std::string path = sibling.is_object() ? text_in(sibling, "rfilename") : "";
    if (is_safe_repo_path(path)) info.files.push_back(path);
  }
  return info;
}

std::vector<RepoFile> list_files(HubClient& client, const HubRepo& repo, const std::string& revision,
                                 const std::string& folder) {
  const std::string place = folder.empty() ? "" : "/" + url_quote(folder, true);
  const std::string first =
      api_url(repo, str("/tree/", url_quote(revision, false), place, "?recursive=true&expand=false"));
  Listing listing;
  std::optional<std::string> url = first;
  while (url) {
    const auto response = client.send_with_retries(client.request("GET", *url));
    require_success(response, repo, revision, folder);
    listing.add_page(*url, response);
    url = next_page(response);
    // The token goes where the next page is: not to another host.
    if (url && !is_hub_origin(*url, first)) refuse(response, "goes on at another host");
    if (url && !listing.may_go_on_at(*url)) refuse(response, "has no end");
  }
  return std::move(listing.files);
}

bool is_safe_repo_path(const std::string& path) {
  if (path.empty() || path.size() > kMostPath || path.front() == '/' || path.back() == '/') return false;
  if (path.find('\\') != std::string::npos || printable(path, kMostPath) != path) return false;
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find('/', start), path.size());
    const std::string part = path.substr(start, end - start);
    if (part.empty() || part == "." || part == ".." || part.size() > 255) return false;
    start = end + 1;
  }
  return true;
}

HubUser whoami(HubClient& client) {
  const auto response = client.send_with_retries(client.request("GET", hub_endpoint() + "/api/whoami-v2"));
  require_success(response, "whose token it is");
  const json content = parse_answer(response);
  if (!content.is_object() || text_in(content, "name").empty()) refuse(response, "names no user");
  HubUser user;
  user.name = printable(text_in(content, "name"));
  if (content.contains("orgs") && content["orgs"].is_array()) {
    for (const auto& org : content["orgs"]) {
      if (org.is_object() && !text_in(org, "name").empty()) user.orgs.push_back(text_in(org, "name"));
    }
  }
  const json auth = content.value("auth", json::object());
  if (auth.is_object() && auth.contains("accessToken") && auth["accessToken"].is_object()) {
    user.token_name = text_in(auth["accessToken"], "displayName");
    user.role = text_in(auth["accessToken"], "role");
  }
  return user;
}

}  // namespace lorikeet
