// Where the Hub is, and the URLs of what is on it.
#pragma once

#include <string>
#include <string_view>

namespace lorikeet {

enum class RepoType { kModel, kDataset, kSpace };

/// A repository on the Hub: `owner/name`, and of which kind.
struct HubRepo {
  std::string id;
  RepoType type = RepoType::kModel;
};

/// "model", "dataset" or "space", as in messages and in request bodies.
std::string repo_type_name(RepoType type);

/// "model owner/name", for messages.
std::string repo_text(const HubRepo& repo);

/// $HF_ENDPOINT without a slash at its end, or https://huggingface.co. Throws UsageError when it is no http(s) URL.
std::string hub_endpoint();

/// Whether $HF_HUB_OFFLINE or $TRANSFORMERS_OFFLINE is 1, on, yes or true.
bool hub_is_offline();

/// Percent-encoding; letters, digits, `-_.~` stay, and `/` where `keep_slashes`.
std::string url_quote(std::string_view text, bool keep_slashes);

/// ENDPOINT/api/models/ID + `tail`, which begins with `/` or `?` or is empty.
std::string api_url(const HubRepo& repo, const std::string& tail = "");

/// ENDPOINT/[datasets/|spaces/]ID + `tail`.
std::string repo_url(const HubRepo& repo, const std::string& tail = "");

/// Of one file: .../resolve/REVISION/PATH.
std::string resolve_url(const HubRepo& repo, const std::string& revision, const std::string& path);

/// "https://host:443": scheme, host and port, in small letters and with the port always named; empty for what is no
/// http(s) URL.
std::string origin_of(const std::string& url);

/// Whether the origin is that of `url_on_hub`, of the endpoint or of huggingface.co: where a token may travel.
bool is_hub_origin(const std::string& url, const std::string& url_on_hub);

/// An answer's URL on huggingface.co, moved to $HF_ENDPOINT where that is set; any other as it is.
std::string at_endpoint(const std::string& url);

}  // namespace lorikeet
