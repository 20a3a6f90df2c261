#include "hub/login.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>

#include "core/text.h"
#include "hub/api.h"
#include "hub/endpoint.h"
#include "hub/environment.h"
#include "hub/hub_error.h"
#include "hub/retry.h"
#include "hub/server_text.h"
#include "hub/stored_tokens.h"

namespace lorikeet {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;
using Form = std::vector<std::pair<std::string, std::string>>;

constexpr const char* kHubClientId = "26be6b09-91c5-47da-9861-d2d2bb7a7e36";  // the one of the `hf` program
constexpr const char* kAgain = "run `lorikeet auth login` again";
constexpr double kSlowDown = 5;
constexpr double kLongestInterval = 60;
constexpr double kLongestLife = 3e9;  // seconds: a hundred years
constexpr const char* kOfServer = "the Hub's answer";

std::string client_id() { return environment("HF_DEVICE_CODE_OAUTH_CLIENT_ID").value_or(kHubClientId); }

HttpRequest form_request(HubClient& client, const std::string& path, const Form& form) {
  auto request = client.request("POST", hub_endpoint() + path);
  request.headers.add("Content-Type", "application/x-www-form-urlencoded");
  std::string body;
  for (const auto& [name, value] : form) {
    body += (body.empty() ? "" : "&") + name + "=" + url_quote(value, /*keep_slashes=*/false);
  }
  request.body = body;
  return request;
}

std::string text_of(const json& object, const char* name) {
  return object.is_object() && object.contains(name) && object[name].is_string() ? object[name].get<std::string>() : "";
}

double number_of(const json& object, const char* name, double fallback) {
  if (!object.contains(name) || !object[name].is_number()) return fallback;
  return std::clamp(object[name].get<double>(), 0.0, kLongestLife);
}

std::optional<OAuthToken> token_of(const json& answer) {
  // Both become lines of files: they must hold nothing but a token.
  const auto access = clean_token(text_of(answer, "access_token"), kOfServer);
  if (!access) return std::nullopt;
  OAuthToken token{.access_token = *access, .refresh_token = {}, .expires_in = {}};
  token.refresh_token = clean_token(text_of(answer, "refresh_token"), kOfServer);
  if (answer.contains("expires_in") && answer["expires_in"].is_number()) {
    token.expires_in = static_cast<int64_t>(number_of(answer, "expires_in", 0));
  }
  return token;
}

[[noreturn]] void fail(const std::string& code, const json& answer) {
  std::string message = "the Hub gave no token: ";
  if (code == "expired_token") {
    message += "the code was not confirmed in time";
  } else if (code == "access_denied") {
    message += "it was refused in the browser";
  } else {
    const std::string words = text_of(answer, "error_description");
    message += printable(code) + (words.empty() ? "" : ": " + printable(words));
  }
  throw LoginError(code, message, kAgain);
}

/// What an answer says, or nothing when it says nothing of use.
json ask_once(HubClient& client, const HttpRequest& request) {
  try {
    const auto response = client.send(request);
    if (response.status >= 500) return nullptr;
    return parse_json(response.body);
  } catch (const ConnectionError&) {
    return nullptr;
  }
}

}  // namespace

DeviceCode request_device_code() {
  HubClient client(std::nullopt);
  const auto response = client.send_with_retries(form_request(client, "/oauth/device", {{"client_id", client_id()}}));
  require_success(response, "a code to log in with");
  const auto answer = parse_answer(response);
  DeviceCode code{.device_code = text_of(answer, "device_code"),
                  .user_code = text_of(answer, "user_code"),
                  .verification_uri = text_of(answer, "verification_uri"),
                  .verification_uri_complete = text_of(answer, "verification_uri_complete")};
  if (code.device_code.empty() || code.user_code.empty() || code.verification_uri.empty()) {
    throw HubError(str(response.url, " did not answer with a code to log in with"), "use --token instead");
  }
  if (code.verification_uri_complete.empty()) code.verification_uri_complete = code.verification_uri;
  code.interval = number_of(answer, "interval", code.interval);
  code.expires_in = number_of(answer, "expires_in", code.expires_in);
  return code;
}

OAuthToken poll_device_token(const DeviceCode& code, const std::function<void()>& pending) {
  HubClient client(std::nullopt);
  const auto request = form_request(client, "/oauth/token",
                                    {{"grant_type", "urn:ietf:params:oauth:grant-type:device_code"},
                                     {"device_code", code.device_code},
                                     {"client_id", client_id()}});
  const auto ends = Clock::now() + std::chrono::duration<double>(code.expires_in);
  double interval = std::min(code.interval, kLongestInterval);
  while (Clock::now() < ends) {
    const json answer = ask_once(client, request);
    if (const auto token = token_of(answer)) return *token;
    const std::string error = text_of(answer, "error");
    if (error == "authorization_pending") {
      if (pending) pending();
    } else if (error == "slow_down") {
      interval += kSlowDown;
    } else if (!error.empty()) {
      fail(error, answer);
    }
    wait_for_retry(interval);
  }
  fail("expired_token", nullptr);
}

OAuthToken refresh_oauth_token(const std::string& refresh_token) {
  HubClient client(std::nullopt);
  const auto request =
      form_request(client, "/oauth/token",
                   {{"grant_type", "refresh_token"}, {"refresh_token", refresh_token}, {"client_id", client_id()}});
  const auto response = client.send(request);
  const json answer = parse_json(response.body);
  if (const auto token = token_of(answer)) return *token;
  const std::string error = text_of(answer, "error");
  if (error.empty()) throw HubError(str(response.url, " answered ", response.status, " and no token"));
  fail(error, answer);
}

Login log_in(const OAuthToken& token) {
  if (token.access_token.starts_with("api_org")) {
    throw UsageError("the token is an organization's, a person's own is needed",
                     "make one on " + hub_endpoint() + "/settings/tokens");
  }
  HubClient client(token.access_token);
  const HubUser user = whoami(client);
  const std::string name = token_section(user.token_name.empty() ? "oauth-" + user.name : user.token_name);
  auto tokens = read_stored_tokens();
  std::erase_if(tokens, [&](const auto& other) { return other.name == name; });
  StoredToken stored{.name = name, .token = token.access_token, .refresh_token = token.refresh_token, .expires_at = {}};
  if (token.expires_in) stored.expires_at = std::time(nullptr) + *token.expires_in;
  tokens.push_back(std::move(stored));
  write_stored_tokens(tokens);
  write_secret(token_file(), token.access_token);
  return {.user = user.name, .token_name = name, .role = user.role};
}

}  // namespace lorikeet
