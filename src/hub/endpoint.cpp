#include "hub/endpoint.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <memory>

#include "core/errors.h"
#include "core/text.h"
#include "hub/environment.h"

namespace lorikeet {
namespace {

constexpr const char* kDefaultEndpoint = "https://huggingface.co";
constexpr std::array kHubOrigins = {"https://huggingface.co:443", "https://hf.co:443",
                                    "https://hub-ci.huggingface.co:443"};

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

std::string part_of(CURLU* url, CURLUPart part, unsigned int flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK) return "";
  std::string copy = text;
  curl_free(text);
  return copy;
}

}  // namespace

std::string repo_type_name(RepoType type) {
  return type == RepoType::kModel ? "model" : type == RepoType::kDataset ? "dataset" : "space";
}

std::string repo_text(const HubRepo& repo) { return repo_type_name(repo.type) + " " + repo.id; }

std::string hub_endpoint() {
  std::string endpoint = environment("HF_ENDPOINT").value_or(kDefaultEndpoint);
  while (endpoint.ends_with('/')) endpoint.pop_back();
  if (origin_of(endpoint).empty()) {
    throw UsageError(str("HF_ENDPOINT is \"", endpoint, "\"; expected an address such as ", kDefaultEndpoint));
  }
  return endpoint;
}

bool hub_is_offline() { return environment_flag("HF_HUB_OFFLINE") || environment_flag("TRANSFORMERS_OFFLINE"); }

std::string url_quote(std::string_view text, bool keep_slashes) {
  std::string quoted;
  for (const unsigned char c : text) {
    const bool plain = std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~' || (c == '/' && keep_slashes);
    constexpr char kHex[] = "0123456789ABCDEF";
    if (plain) {
      quoted += static_cast<char>(c);
    } else {
      quoted += {'%', kHex[c >> 4], kHex[c & 15]};
    }
  }
  return quoted;
}

std::string api_url(const HubRepo& repo, const std::string& tail) {
  return str(hub_endpoint(), "/api/", repo_type_name(repo.type), "s/", url_quote(repo.id, true), tail);
}

std::string repo_url(const HubRepo& repo, const std::string& tail) {
  const std::string kind = repo.type == RepoType::kModel ? "" : repo_type_name(repo.type) + "s/";
  return str(hub_endpoint(), "/", kind, url_quote(repo.id, true), tail);
}

std::string resolve_url(const HubRepo& repo, const std::string& revision, const std::string& path) {
  return repo_url(repo, str("/resolve/", url_quote(revision, false), "/", url_quote(path, true)));
}

std::string origin_of(const std::string& url) {
  const std::unique_ptr<CURLU, void (*)(CURLU*)> parsed(curl_url(), curl_url_cleanup);
  if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return "";
  const std::string scheme = lower(part_of(parsed.get(), CURLUPART_SCHEME));
  if (scheme != "http" && scheme != "https") return "";
  const std::string host = lower(part_of(parsed.get(), CURLUPART_HOST));
  return str(scheme, "://", host, ":", part_of(parsed.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT));
}

bool is_hub_origin(const std::string& url, const std::string& url_on_hub) {
  const std::string origin = origin_of(url);
  if (origin.empty()) return false;
  return origin == origin_of(url_on_hub) || origin == origin_of(hub_endpoint()) ||
         std::find(kHubOrigins.begin(), kHubOrigins.end(), origin) != kHubOrigins.end();
}

std::string at_endpoint(const std::string& url) {
  const std::string endpoint = hub_endpoint();
  const std::string prefix = std::string(kDefaultEndpoint) + "/";
  if (endpoint == kDefaultEndpoint || !url.starts_with(prefix)) return url;
  return endpoint + "/" + url.substr(prefix.size());
}

}  // namespace lorikeet
