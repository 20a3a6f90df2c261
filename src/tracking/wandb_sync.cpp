#include "tracking/wandb_sync.h"

#include <cstdlib>
#include <optional>
#include <sstream>

#include "core/atomic_file.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/text.h"
#include "tracking/child_process.h"
#include "tracking/wandb_settings.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;

std::string variable(const char* name, const char* fallback = "") {
  const char* value = std::getenv(name);
  return value && *value ? value : fallback;
}

/// "https://api.wandb.ai/x" -> "api.wandb.ai", with the port where one is given.
std::string host_of(std::string url) {
  if (const size_t scheme = url.find("://"); scheme != std::string::npos) url.erase(0, scheme + 3);
  return url.substr(0, url.find_first_of("/?#"));
}

std::string unquoted(const std::string& word) {
  const bool quoted = word.size() >= 2 && word.front() == '"' && word.back() == '"';
  return quoted ? word.substr(1, word.size() - 2) : word;
}

/// Whether a netrc text has a password for the host, or for any ("default").
bool netrc_knows(const std::string& text, const std::string& host) {
  std::istringstream words(text);
  bool ours = false;
  for (std::string word, value; words >> word;) {
    if (word.starts_with('#')) {
      std::getline(words, value);
    } else if (word == "machine" && words >> value) {
      ours = unquoted(value) == host;
    } else if (word == "default") {
      ours = true;
    } else if (word == "password" && words >> value && ours && !unquoted(value).empty()) {
      return true;
    }
  }
  return false;
}

/// For a shell, only where it needs it.
std::string quoted(const std::string& path) {
  const std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=+,@%";
  if (path.find_first_not_of(plain) == std::string::npos) return path;
  std::string out = "'";
  for (const char c : path) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

/// Without it, the official program would write a later part's console lines over those of the first.
constexpr std::pair<const char*, const char*> kResume{"WANDB_RESUME", "allow"};

/// What is wrong, or nothing.
std::optional<std::string> sync_part(const std::string& program, const WandbPart& part,
                                     std::chrono::milliseconds time_limit) {
  // It keeps its own logs in WANDB_DIR/wandb, where the runs are; by default that is in the current folder.
  const fs::path parent = fs::absolute(part.folder).parent_path().parent_path();
  ChildProgram child{{program, "sync", part.folder.string()}, {{"WANDB_DIR", parent.string()}}, time_limit};
  if (part.resumed && variable(kResume.first).empty()) child.environment.emplace_back(kResume);
  const auto code = run_child(child, [](std::string_view line) { log_info(blot_secrets(std::string(line))); });
  if (!code) {
    return stop_requested() ? "it was stopped" : str("it took more than ", time_limit.count() / 1000, " seconds");
  }
  if (*code != 0) return str("it ended with exit code ", *code);
  // It ends with 0 after most failures, too; what it has uploaded it marks.
  for (const auto& entry : fs::directory_iterator(part.folder)) {
    if (entry.path().extension() == ".synced") return std::nullopt;
  }
  return "it did not upload the run";
}

}  // namespace

std::string wandb_sync_commands(const std::vector<WandbPart>& parts) {
  std::string commands;
  for (const WandbPart& part : parts) {
    if (!commands.empty()) commands += " && ";
    if (part.resumed) commands += str(kResume.first, "=", kResume.second, " ");
    commands += "wandb sync " + quoted(part.folder.string());
  }
  return commands;
}

bool has_wandb_credentials() {
  if (!variable("WANDB_API_KEY").empty() || !variable("WANDB_IDENTITY_TOKEN_FILE").empty()) return true;
  const fs::path home = variable("HOME");
  std::vector<fs::path> candidates{home / ".netrc", home / "_netrc"};
  if (const std::string named = variable("NETRC"); !named.empty()) candidates = {named};
  const std::string host = host_of(variable("WANDB_BASE_URL", "https://api.wandb.ai"));
  for (const fs::path& file : candidates) {
    try {
      constexpr size_t kLimit = 1 << 20;
      if (netrc_knows(read_file(file, kLimit), host)) return true;
    } catch (const std::exception&) {  // no file, no credentials
    }
  }
  return false;
}

void sync_wandb_run(const std::vector<WandbPart>& parts, std::chrono::milliseconds time_limit) noexcept {
  try {
    if (parts.empty()) return;
    const auto program = find_program("wandb");
    if (!program || stop_requested() || !has_wandb_credentials()) {
      log_info(str("wandb: to upload this run: ", wandb_sync_commands(parts)));
      return;
    }
    log_info(str("wandb: uploading this run (Ctrl-C stops it; the run stays in ", parts.back().folder.string(), ")"));
    for (size_t i = 0; i < parts.size(); ++i) {
      const auto trouble = sync_part(*program, parts[i], time_limit);
      if (!trouble) continue;
      const std::vector<WandbPart> left(parts.begin() + static_cast<std::ptrdiff_t>(i), parts.end());
      log_warning(str("`wandb sync` failed: ", *trouble, "; to try again: ", wandb_sync_commands(left)));
      return;
    }
  } catch (const std::exception& error) {
    log_warning(str("`wandb sync` failed: ", error.what(), "; to try again: ", wandb_sync_commands(parts)));
  }
}

}  // namespace lorikeet
