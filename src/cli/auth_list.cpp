#include <algorithm>
#include <ctime>
#include <iostream>

#include "cli/auth_commands.h"
#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/stored_tokens.h"
#include "hub/token.h"

namespace lorikeet {
namespace {

/// " (until 2026-12-01)"
std::string validity(const StoredToken& token) {
  if (!token.expires_at) return "";
  const std::time_t when = *token.expires_at;
  char text[32] = "";
  std::tm parts{};
  if (localtime_r(&when, &parts) == nullptr || std::strftime(text, sizeof text, "%Y-%m-%d", &parts) == 0) return "";
  return str(when < std::time(nullptr) ? " (expired on " : " (until ", text, ")");
}

}  // namespace

std::string stored_token_names() {
  std::string names;
  for (const auto& token : read_stored_tokens()) names += (names.empty() ? "" : ", ") + token.name;
  return names.empty() ? "none" : names;
}

void warn_of_environment_token() {
  if (environment_token()) log_warning("HF_TOKEN is set, and goes before the tokens kept on this machine");
}

OptionList fields(AuthListOptions&) { return {}; }

void auth_list(const AuthListOptions&) {
  const auto active = logged_in_token();  // first, for it may renew one of them
  const auto tokens = read_stored_tokens();
  if (tokens.empty()) std::cout << "No tokens are kept on this machine.\n";
  for (const auto& token : tokens) {
    std::cout << (active && token.token == *active ? "* " : "  ") << token.name << validity(token) << "\n";
  }
  warn_of_environment_token();
}

OptionList fields(AuthSwitchOptions& o) {
  OptionList list;
  list.add("token_name", &o.token_name, "The token to use from now on, a name of `lorikeet auth list`.").required();
  return list;
}

void auth_switch(const AuthSwitchOptions& options) {
  AuthSwitchOptions copy = options;
  fields(copy).check();
  const auto tokens = read_stored_tokens();
  const auto found =
      std::find_if(tokens.begin(), tokens.end(), [&](const auto& t) { return t.name == options.token_name; });
  if (found == tokens.end()) {
    throw UsageError(str("--token_name ", options.token_name, ": there is no such token"),
                     "there are: " + stored_token_names());
  }
  const auto token = clean_token(found->token, stored_tokens_file().string());
  if (!token)
    throw FormatError(str("the token \"", options.token_name, "\" in ", stored_tokens_file().string(), " is empty"));
  write_secret(token_file(), *token);
  std::cout << "The active token is \"" << options.token_name << "\" now.\n";
  warn_of_environment_token();
}

}  // namespace lorikeet
