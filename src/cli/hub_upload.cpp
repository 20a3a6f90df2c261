#include <filesystem>
#include <iostream>

#include "cli/hub_commands.h"
#include "cli/transfer_bar.h"
#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/api_write.h"
#include "hub/cache_writer.h"
#include "hub/token.h"
#include "hub/upload.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;

std::vector<UploadFile> chosen(const HubUploadOptions& options) {
  const std::string place = options.path_in_repo.value_or("");
  if (fs::is_directory(options.path)) {
    const auto files = files_to_upload(options.path, options.include.value_or(TextList{}),
                                       options.exclude.value_or(TextList{}), place);
    if (files.empty()) throw FileError(str("there is nothing to upload in ", options.path));
    return files;
  }
  if (!fs::is_regular_file(options.path)) throw FileError(str("cannot read ", options.path, ": there is no such file"));
  if (options.include || options.exclude) throw UsageError("--include and --exclude are for folders");
  const std::string path = place.empty() ? fs::path(options.path).filename().string() : place;
  if (!is_safe_repo_path(path)) throw UsageError(str("--path_in_repo ", path, ": no path in a repository"));
  return {{.file = options.path, .path = path}};
}

}  // namespace

OptionList fields(HubUploadOptions& o) {
  OptionList list;
  list.group("Arguments");
  list.add("repo", &o.repo, "Id on the Hub: owner/name, or a name of your own. It is made if there is none.")
      .required()
      .positional();
  list.add("path", &o.path, "A folder or a file.").required().positional();
  list.group("What");
  add_repo_options(list, o.repo_type, o.revision, o.hub_token);
  list.add("path_in_repo", &o.path_in_repo, "Where it goes in the repository (default: its top).");
  list.add("include", &o.include, "Only files of the folder that match one of these patterns: \"*.png\".");
  list.add("exclude", &o.exclude, "No files that match one of these patterns.");
  list.group("How");
  list.add("commit_message", &o.commit_message, "First line of the commit.");
  list.add("private", &o.is_private, "A repository that is made is private.");
  list.add("create_pr", &o.create_pr, "Open a pull request instead of committing.");
  return list;
}

void hub_upload(const HubUploadOptions& options) {
  HubUploadOptions copy = options;
  fields(copy).check();
  auto repo = parse_repo(options.repo, options.repo_type);
  require_revision(options.revision);
  if (options.create_pr && options.revision != "main") {
    throw UsageError("--create_pr goes to the main branch: expected no --revision beside it");
  }
  const auto files = chosen(options);
  const auto token = options.hub_token ? options.hub_token : logged_in_token();
  if (!token) throw HubError("nobody is logged in", "run `lorikeet auth login`, or set HF_TOKEN");
  HubClient client(token);
  repo.id = create_repo(client, repo, options.is_private ? std::optional(true) : std::nullopt);
  TransferBar bar;
  UploadOptions how{
      .message = options.commit_message.value_or(str("Upload ", files.size() == 1 ? files[0].path : "folder")),
      .revision = options.revision,
      .create_pr = options.create_pr,
      .sent = [&](const std::string& path, int64_t bytes, int64_t size) { bar.show("Sending " + path, bytes, size); }};
  const auto result = upload_files(client, repo, files, how);
  if (result.changed == 0) log_info("all of it is there already: no commit was made");
  std::cout << result.pull_request.value_or(result.url) << "\n";
}

}  // namespace lorikeet
