// `lorikeet auth ...`: whose token speaks to the Hub. Tokens themselves are never printed.
#pragma once

#include <optional>
#include <string>

#include "core/options.h"

namespace lorikeet {

/// auth login
struct AuthLoginOptions {
  std::optional<std::string> token;
  bool force = false;
};
OptionList fields(AuthLoginOptions& options);
void auth_login(const AuthLoginOptions& options);

/// auth logout
struct AuthLogoutOptions {
  std::optional<std::string> token_name;
};
OptionList fields(AuthLogoutOptions& options);
void auth_logout(const AuthLogoutOptions& options);

/// auth whoami
struct AuthWhoamiOptions {
  bool json = false;
};
OptionList fields(AuthWhoamiOptions& options);
void auth_whoami(const AuthWhoamiOptions& options);

/// auth list
struct AuthListOptions {};
OptionList fields(AuthListOptions& options);
void auth_list(const AuthListOptions& options);

/// auth switch
struct AuthSwitchOptions {
  std::string token_name;
};
OptionList fields(AuthSwitchOptions& options);
void auth_switch(const AuthSwitchOptions& options);

/// The names of the tokens in `stored_tokens`, for messages: "a, b"; "none" without any.
std::string stored_token_names();

/// Warns when $HF_TOKEN is set: it goes before whatever is logged in.
void warn_of_environment_token();

}  // namespace lorikeet
