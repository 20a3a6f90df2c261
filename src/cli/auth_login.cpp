#include <ctime>
#include <iostream>

#include "cli/auth_commands.h"
#include "core/errors.h"
#include "hub/login.h"
#include "hub/stored_tokens.h"
#include "hub/token.h"

namespace lorikeet {
namespace {

/// What a server says must stay on its line and leave the terminal as it is.
std::string one_line(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7F) c = ' ';
  }
  return text;
}

OAuthToken log_in_with_a_browser() {
  const auto code = request_device_code();
  std::cout << "Open this page in a browser:\n  " << one_line(code.verification_uri_complete) << "\nand enter the code "
            << one_line(code.user_code) << "\n"
            << "Waiting for it ..." << std::endl;
  return poll_device_token(code, nullptr);
}

}  // namespace

OptionList fields(AuthLoginOptions& o) {
  OptionList list;
  list.add("token", &o.token, "Log in with this access token, of huggingface.co/settings/tokens, instead of a browser.")
      .secret();
  list.add("force", &o.force, "Log in anew where somebody is logged in already.");
  return list;
}

void auth_login(const AuthLoginOptions& options) {
  if (!options.token && !options.force && logged_in_token()) {
    std::cout << "You are logged in already; --force logs in anew.\n";
    return;
  }
  OAuthToken token;
  if (options.token) {
    const auto clean = clean_token(*options.token, "--token");
    if (!clean) throw UsageError("--token is empty", "without it a browser is used");
    token.access_token = *clean;
  } else {
    token = log_in_with_a_browser();
  }
  const auto login = log_in(token);
  std::cout << "Logged in as " << one_line(login.user) << " with the token \"" << one_line(login.token_name) << "\"";
  if (!login.role.empty()) std::cout << " (" << one_line(login.role) << ")";
  std::cout << ", kept in " << stored_tokens_file().string() << ".\n";
  warn_of_environment_token();
}

}  // namespace lorikeet
