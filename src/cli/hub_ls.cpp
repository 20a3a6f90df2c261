#include <algorithm>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/hub_commands.h"
#include "core/errors.h"
#include "core/text.h"
#include "hub/api.h"
#include "hub/cache.h"
#include "hub/cache_writer.h"
#include "hub/token.h"
#include "hub/tree_cache.h"

namespace lorikeet {

void add_repo_options(OptionList& list, std::string& repo_type, std::string& revision,
                      std::optional<std::string>& hub_token) {
  list.add("repo_type", &repo_type, "What it is.").choices({"model", "dataset", "space"});
  list.add("revision", &revision, "Branch, tag or commit.");
  list.add("hub_token", &hub_token, "Token to use instead of the one that is logged in.").secret();
}

HubRepo parse_repo(const std::string& id, const std::string& repo_type) {
  if (!is_hub_id(id)) throw UsageError(str("\"", id, "\" is no id on the Hub; expected owner/name"));
  return {id, repo_type == "dataset" ? RepoType::kDataset : repo_type == "space" ? RepoType::kSpace : RepoType::kModel};
}

namespace {

/// With $HF_HUB_OFFLINE the listing that the cache keeps.
std::vector<RepoFile> files_of(const HubRepo& repo, const HubLsOptions& options) {
  if (hub_is_offline()) return cached_revision(repo, options.revision).files;
  HubClient client(options.hub_token ? options.hub_token : hub_token());
  return list_files(client, repo, options.revision);
}

}  // namespace

OptionList fields(HubLsOptions& o) {
  OptionList list;
  list.group("Arguments");
  list.add("repo", &o.repo, "Id on the Hub: owner/name.").required().positional();
  list.group("What");
  add_repo_options(list, o.repo_type, o.revision, o.hub_token);
  list.group("Output");
  list.add("json", &o.json, "As JSON: path, size in bytes, git's sha1, and sha256 of large files.");
  return list;
}

void hub_ls(const HubLsOptions& options) {
  HubLsOptions copy = options;
  fields(copy).check();
  const auto repo = parse_repo(options.repo, options.repo_type);
  require_revision(options.revision);
  const auto files = files_of(repo, options);
  if (options.json) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const auto& file : files) {
      list.push_back({{"path", file.path}, {"size", file.size}, {"blob_id", file.blob_id}});
      if (file.sha256) list.back()["sha256"] = *file.sha256;
    }
    std::cout << list.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
    return;
  }
  size_t width = 1;
  for (const auto& file : files) width = std::max(width, std::to_string(file.size).size());
  for (const auto& file : files) {
    std::cout << std::setw(static_cast<int>(width)) << file.size << "  " << file.path << "\n";
  }
}

}  // namespace lorikeet
