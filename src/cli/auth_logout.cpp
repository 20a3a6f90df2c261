#include <algorithm>
#include <filesystem>
#include <iostream>

#include "cli/auth_commands.h"
#include "core/errors.h"
#include "core/text.h"
#include "hub/stored_tokens.h"

namespace lorikeet {
namespace {

void remove_token_file() {
  std::error_code error;
  if (!std::filesystem::remove(token_file(), error) && error) {
    throw FileError(str("cannot remove ", token_file().string(), ": ", error.message()));
  }
}

}  // namespace

OptionList fields(AuthLogoutOptions& o) {
  OptionList list;
  list.add("token_name", &o.token_name, "Forget this token only, a name of `lorikeet auth list` (default: all).");
  return list;
}

void auth_logout(const AuthLogoutOptions& options) {
  auto tokens = read_stored_tokens();
  const auto active = read_token_file();
  if (!options.token_name) {
    const bool was_logged_in = active || !tokens.empty();
    remove_token_file();
    write_stored_tokens({});
    std::cout << (was_logged_in ? "Logged out: no token is kept on this machine any more.\n"
                                : "You are not logged in.\n");
  } else {
    const auto found =
        std::find_if(tokens.begin(), tokens.end(), [&](const auto& t) { return t.name == *options.token_name; });
    if (found == tokens.end()) {
      throw UsageError(str("--token_name ", *options.token_name, ": there is no such token"),
                       "there are: " + stored_token_names());
    }
    const bool was_active = active && found->token == *active;
    tokens.erase(found);
    write_stored_tokens(tokens);
    if (was_active) remove_token_file();
    std::cout << "Forgot the token \"" << *options.token_name << "\""
              << (was_active ? ", which was the active one" : "") << ".\n";
  }
  warn_of_environment_token();
}

}  // namespace lorikeet
