#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/auth_commands.h"
#include "core/errors.h"
#include "core/listed.h"
#include "hub/api.h"
#include "hub/endpoint.h"
#include "hub/token.h"

namespace lorikeet {

OptionList fields(AuthWhoamiOptions& o) {
  OptionList list;
  list.add("json", &o.json, "As JSON.");
  return list;
}

void auth_whoami(const AuthWhoamiOptions& options) {
  const auto token = logged_in_token();
  if (!token) throw HubError("nobody is logged in", "run `lorikeet auth login`, or set HF_TOKEN");
  HubClient client(token);
  const auto user = whoami(client);
  if (options.json) {
    const nlohmann::ordered_json about = {{"user", user.name},
                                          {"orgs", user.orgs},
                                          {"token_name", user.token_name},
                                          {"role", user.role},
                                          {"endpoint", hub_endpoint()}};
    std::cout << about.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
    return;
  }
  std::cout << "user: " << user.name << "\n";
  if (!user.orgs.empty()) std::cout << "orgs: " << listed(user.orgs) << "\n";
  if (!user.role.empty()) std::cout << "token may: " << user.role << "\n";
  if (hub_endpoint() != "https://huggingface.co") std::cout << "endpoint: " << hub_endpoint() << "\n";
}

}  // namespace lorikeet
