// Logging in: by a token, or by the browser's device-code flow (RFC 8628) and the tokens it gives.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "core/errors.h"

namespace lorikeet {

/// The Hub refused to give a token; `code()` is OAuth's: access_denied, expired_token, invalid_grant, ...
class LoginError : public HubError {
 public:
  LoginError(std::string code, const std::string& message, const std::string& hint)
      : HubError(message, hint), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

struct DeviceCode {
  std::string device_code;  // a secret
  std::string user_code, verification_uri, verification_uri_complete;
  double interval = 5, expires_in = 900;  // seconds
};
/// Throws HubError.
DeviceCode request_device_code();

struct OAuthToken {
  std::string access_token;
  std::optional<std::string> refresh_token;
  std::optional<int64_t> expires_in;  // seconds
};
/// Asks every `interval` seconds until the person has confirmed the code in a browser; `pending` is called each time
/// it is not. What says nothing (5xx, no connection) is asked again. Throws LoginError when the person refused or the
/// time is over, Interrupted.
OAuthToken poll_device_token(const DeviceCode& code, const std::function<void()>& pending);

/// A new token for a refresh token. Throws LoginError, HubError.
OAuthToken refresh_oauth_token(const std::string& refresh_token);

struct Login {
  std::string user, token_name, role;
};
/// Asks the Hub whose token it is, keeps it in stored_tokens under its name there and makes it the active one. Throws
/// UsageError for an organization's token, HubAnswerError for one that is not known.
Login log_in(const OAuthToken& token);

}  // namespace lorikeet
