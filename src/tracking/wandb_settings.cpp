#include "tracking/wandb_settings.h"

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;

constexpr size_t kProjectLength = 128, kTagLength = 64;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

WandbSettings::Mode read_mode() {
  using Mode = WandbSettings::Mode;
  std::string disabled = variable("WANDB_DISABLED");
  std::transform(disabled.begin(), disabled.end(), disabled.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const char* yes : {"1", "on", "true", "yes"}) {
    if (disabled == yes) return Mode::kDisabled;
  }
  const std::string mode = variable("WANDB_MODE");
  if (mode.empty() || mode == "online" || mode == "run") return Mode::kOnline;
  if (mode == "offline" || mode == "dryrun") return Mode::kOffline;
  if (mode == "disabled") return Mode::kDisabled;
  throw UsageError(str("WANDB_MODE is '", mode, "'; expected online, offline or disabled"),
                   "change or unset the environment variable WANDB_MODE");
}

fs::path with_home(const std::string& folder) {
  if (folder != "~" && !folder.starts_with("~/")) return folder;
  return fs::path(variable("HOME")) / folder.substr(std::min<size_t>(2, folder.size()));
}

void check_project(const std::string& project) {
  if (project.size() > kProjectLength) {
    throw UsageError(str("WANDB_PROJECT has ", project.size(), " characters; expected at most ", kProjectLength));
  }
  if (project.find_first_of("/\\#?%:") != std::string::npos) {
    throw UsageError(str("WANDB_PROJECT is '", project, "'; expected a name without any of / \\ # ? % :"));
  }
}

std::vector<std::string> read_tags() {
  std::vector<std::string> tags;
  const std::string text = variable("WANDB_TAGS");
  if (text.empty()) return tags;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    tags.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  for (const std::string& tag : tags) {
    if (tag.empty() || tag.size() > kTagLength) {
      throw UsageError(
          str("WANDB_TAGS is '", text, "'; expected tags of 1 to ", kTagLength, " characters, separated by commas"));
    }
  }
  return tags;
}

bool is_secret_name(const std::string& name) {
  for (const char* ending : {"token", "api_key", "password", "secret"}) {
    if (name == ending || name.ends_with(str("_", ending))) return true;
  }
  return false;
}

}  // namespace

WandbSettings read_wandb_settings(const fs::path& folder, const std::string& project) {
  WandbSettings settings;
  settings.mode = read_mode();
  const std::string wanted = variable("WANDB_DIR");
  settings.folder = (wanted.empty() ? folder : with_home(wanted)) / "wandb";
  settings.project = variable("WANDB_PROJECT");
  check_project(settings.project);
  if (settings.project.empty()) settings.project = project;
  settings.run_id = variable("WANDB_RUN_ID");
  if (!settings.run_id.empty() && !is_wandb_run_id(settings.run_id)) {
    throw UsageError(str("WANDB_RUN_ID is '", settings.run_id,
                         "'; expected a name without any of : ; , # ? / ' and without white space at its ends"));
  }
  settings.entity = variable("WANDB_ENTITY");
  settings.name = variable("WANDB_NAME");
  settings.notes = variable("WANDB_NOTES");
  settings.group = variable("WANDB_RUN_GROUP");
  settings.job_type = variable("WANDB_JOB_TYPE");
  settings.tags = read_tags();
  return settings;
}

bool is_wandb_run_id(const std::string& id) {
  if (id.empty() || id.size() > kProjectLength || id == "." || id == "..") return false;
  const auto is_space = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  if (is_space(id.front()) || is_space(id.back())) return false;
  return std::none_of(id.begin(), id.end(), [](char c) {
    return static_cast<unsigned char>(c) < ' ' || std::string_view(":;,#?/'").find(c) != std::string_view::npos;
  });
}

std::string new_wandb_run_id() {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::random_device random;
  std::uniform_int_distribution<size_t> any(0, kLetters.size() - 1);
  std::string id;
  while (id.size() < 8) id += kLetters[any(random)];
  return id;
}

std::string without_secrets(const std::string& json) {
  auto config = nlohmann::ordered_json::parse(json);
  for (auto item = config.begin(); item != config.end();) {
    item = is_secret_name(item.key()) ? config.erase(item) : std::next(item);
  }
  return blot_secrets(config.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

std::string blot_secrets(std::string text) {
  constexpr size_t kShortest = 8;  // what is shorter is no key, and would blot out common words
  for (const char* name : {"WANDB_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    const std::string secret = variable(name);
    if (secret.size() < kShortest) continue;
    for (size_t at = 0; (at = text.find(secret, at)) != std::string::npos;) text.replace(at, secret.size(), "***");
  }
  return text;
}

}  // namespace lorikeet
