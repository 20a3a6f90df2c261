// `lorikeet hub ...`: files of the Hugging Face Hub.
#pragma once

#include <optional>
#include <string>

#include "core/options.h"
#include "hub/endpoint.h"

namespace lorikeet {

/// hub download
struct HubDownloadOptions {
  std::string repo;
  std::optional<TextList> files;
  std::string repo_type = "model";
  std::string revision = "main";
  std::optional<TextList> include, exclude;
  bool pipeline = false;
  std::optional<std::string> variant;
  std::optional<std::string> hub_token;
  bool force_download = false;
  int64_t connections = 4;
};
OptionList fields(HubDownloadOptions& options);
void hub_download(const HubDownloadOptions& options);

/// hub ls
struct HubLsOptions {
  std::string repo;
  std::string repo_type = "model";
  std::string revision = "main";
  std::optional<std::string> hub_token;
  bool json = false;
};
OptionList fields(HubLsOptions& options);
void hub_ls(const HubLsOptions& options);

/// hub upload
struct HubUploadOptions {
  std::string repo, path;
  std::string repo_type = "model";
  std::string revision = "main";
  std::optional<std::string> hub_token, path_in_repo, commit_message;
  std::optional<TextList> include, exclude;
  bool is_private = false;
  bool create_pr = false;
};
OptionList fields(HubUploadOptions& options);
void hub_upload(const HubUploadOptions& options);

/// Adds --repo_type, --revision and --hub_token.
void add_repo_options(OptionList& list, std::string& repo_type, std::string& revision,
                      std::optional<std::string>& hub_token);

/// Throws UsageError for an id that is none.
HubRepo parse_repo(const std::string& id, const std::string& repo_type);

}  // namespace lorikeet
