#include "hub/oidc.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <nlohmann/json.hpp>

#include "core/text.h"
#include "hub/api.h"
#include "hub/endpoint.h"
#include "hub/environment.h"
#include "hub/hub_error.h"
#include "hub/stored_tokens.h"

namespace lorikeet {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr double kUsualLife = 3600, kLongestLife = 24 * 3600;  // seconds
constexpr double kRenewBefore = 300;
constexpr const char* kUnset = "unset HF_OIDC_RESOURCE to use another token";

struct Exchanged {
  std::string resource, token;
  Clock::time_point until;
};

std::string text_in(const json& object, const char* name) {
  return object.is_object() && object.contains(name) && object[name].is_string() ? object[name].get<std::string>() : "";
}

/// What GitHub says of the job that asks. It is another host than the Hub, and gets a token of its own.
std::string github_identity() {
  const auto url = environment("ACTIONS_ID_TOKEN_REQUEST_URL"), token = environment("ACTIONS_ID_TOKEN_REQUEST_TOKEN");
  if (!url || !token) {
    throw HubError("HF_OIDC_RESOURCE is set, but GitHub Actions gives this job no identity",
                   str("the workflow needs `permissions: id-token: write`; or ", kUnset));
  }
  HubClient client(std::nullopt);
  const char joint = url->find('?') == std::string::npos ? '?' : '&';
  auto request = client.request("GET", str(*url, joint, "audience=", url_quote(hub_endpoint(), false)));
  request.headers.add("Authorization", "Bearer " + clean_token(*token, "ACTIONS_ID_TOKEN_REQUEST_TOKEN").value_or(""));
  request.redirects = Redirects::kNone;  // it goes to nobody else
  const auto response = client.send_with_retries(request);
  require_done(response, "get this job's identity from GitHub Actions");
  const std::string identity = text_in(parse_answer(response), "value");
  if (identity.empty()) throw HubError("GitHub Actions' answer holds no identity of this job", kUnset);
  return identity;
}

std::string own_identity() {
  if (environment("GITHUB_ACTIONS") == "true") return github_identity();
  throw HubError("HF_OIDC_RESOURCE is set, but there is nothing that says who this job is",
                 str("set HF_OIDC_ID_TOKEN to what the CI gives, or ", kUnset));
}

Exchanged exchange(const std::string& resource) {
  const auto given = environment("HF_OIDC_ID_TOKEN");
  HubClient client(std::nullopt);
  const auto asked = Clock::now();
  const auto response = client.send_with_retries(
      client.post(hub_endpoint() + "/oauth/token", {{"grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"},
                                                    {"subject_token_type", "urn:ietf:params:oauth:token-type:id_token"},
                                                    {"subject_token", given ? *given : own_identity()},
                                                    {"resource", resource}}));
  if (response.status == 400 || response.status == 401 || response.status == 403) {
    throw HubError(str("the Hub gave this job no token for ", resource, " (", response.status, ")"),
                   str("is it a trusted publisher there, on the settings page of ", resource, "? Or ", kUnset));
  }
  require_done(response, "get a token for this job");
  const json answer = parse_answer(response);
  const auto token = clean_token(text_in(answer, "access_token"), "the Hub's answer");
  if (!token) throw HubError("the Hub's answer holds no token for this job", kUnset);
  double life = kUsualLife;
  if (answer.contains("expires_in") && answer["expires_in"].is_number()) life = answer["expires_in"].get<double>();
  // An identity that was given cannot be asked for again.
  life = std::clamp(life, 0.0, kLongestLife) - (given ? 0 : kRenewBefore);
  return {resource, *token, asked + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(life))};
}

}  // namespace

std::optional<std::string> oidc_token() {
  const auto resource = environment("HF_OIDC_RESOURCE");
  if (!resource || hub_is_offline()) return std::nullopt;
  static std::mutex mutex;
  static std::optional<Exchanged> last;
  const std::scoped_lock guard(mutex);
  if (!last || last->resource != *resource || Clock::now() >= last->until) last = exchange(*resource);
  return last->token;
}

}  // namespace lorikeet
