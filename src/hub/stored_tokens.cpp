#include "hub/stored_tokens.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <set>
#include <sstream>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/environment.h"
#include "hub/home.h"
#include "hub/server_text.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

constexpr size_t kMostBytes = 1 << 20;
constexpr const char* kBlanks = " \t\r\n\f\v";

std::string trimmed(const std::string& text) {
  const size_t start = text.find_first_not_of(kBlanks);
  if (start == std::string::npos) return "";
  return text.substr(start, text.find_last_not_of(kBlanks) - start + 1);
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

using Fields = std::map<std::string, std::string>;

/// An INI file, as far as Python's configparser writes one: sections, `key = value`, comment lines, and values that go
/// on in indented lines.
class IniReader {
 public:
  void read_line(const std::string& line) {
    ++number_;
    const std::string text = trimmed(line);
    if (text.empty() || text[0] == '#' || text[0] == ';') return;
    if (std::isspace(static_cast<unsigned char>(line[0])) && value_ != nullptr) {
      *value_ += "\n" + text;
    } else if (text[0] == '[' && text.rfind(']') > 1 && text.rfind(']') != std::string::npos) {
      open_section(text.substr(1, text.rfind(']') - 1));
    } else {
      read_field(text);
    }
  }

  const std::vector<std::pair<std::string, Fields>>& sections() const { return sections_; }

 private:
  void open_section(const std::string& name) {
    if (!names_.insert(name).second) fail("has a section twice");
    sections_.emplace_back(name, Fields());
    value_ = nullptr;
  }

  void read_field(const std::string& text) {
    const size_t at = text.find_first_of("=:");
    if (sections_.empty() || at == std::string::npos || at == 0) fail("is neither [NAME] nor KEY = VALUE");
    const auto [field, is_new] = sections_.back().second.emplace(lower(trimmed(text.substr(0, at))), "");
    if (!is_new) fail("has a key twice");
    field->second = trimmed(text.substr(at + 1));
    value_ = &field->second;
  }

  [[noreturn]] void fail(const char* what) const { throw FormatError(str("line ", number_, " ", what)); }

  int number_ = 0;
  std::vector<std::pair<std::string, Fields>> sections_;
  std::set<std::string> names_;
  std::string* value_ = nullptr;  // what an indented line goes on with; a map's values stay where they are
};

std::optional<int64_t> as_seconds(const std::string& text) {
  if (text.empty() || text.size() > 15 || text.find_first_not_of("0123456789") != std::string::npos)
    return std::nullopt;
  return std::stoll(text);
}

[[noreturn]] void fail_to_write(const fs::path& path, int error) {
  throw FileError(str("cannot write ", path.string(), ": ", std::strerror(error)),
                  "HF_HOME or HF_TOKEN_PATH names another place");
}

void write_all(int descriptor, std::string_view content, const fs::path& path) {
  while (!content.empty()) {
    const ssize_t written = ::write(descriptor, content.data(), content.size());
    if (written < 0 && errno != EINTR) fail_to_write(path, errno);
    if (written > 0) content.remove_prefix(static_cast<size_t>(written));
  }
  if (::fsync(descriptor) != 0) fail_to_write(path, errno);
}

}  // namespace

fs::path token_file() {
  if (const auto path = environment("HF_TOKEN_PATH")) return expand_path(*path);
  return hub_home_folder() / "token";
}

fs::path stored_tokens_file() { return token_file().parent_path() / "stored_tokens"; }

std::vector<StoredToken> parse_stored_tokens(const std::string& text) {
  IniReader reader;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) reader.read_line(line);
  std::vector<StoredToken> tokens;
  for (auto [name, fields] : reader.sections()) {
    StoredToken token{.name = name, .token = fields["hf_token"], .refresh_token = {}, .expires_at = {}};
    if (const auto& refresh = fields["refresh_token"]; !refresh.empty()) token.refresh_token = refresh;
    token.expires_at = as_seconds(fields["expires_at"]);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

std::string stored_tokens_text(std::vector<StoredToken> tokens) {
  std::sort(tokens.begin(), tokens.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  std::string text;
  for (const auto& token : tokens) {
    text += str("[", token_section(token.name), "]\nhf_token = ", token.token, "\n");
    if (token.refresh_token) text += str("refresh_token = ", *token.refresh_token, "\n");
    if (token.expires_at) text += str("expires_at = ", *token.expires_at, "\n");
    text += "\n";
  }
  return text;
}

std::string token_section(std::string name) {
  // A line end would begin another section, and "DEFAULT" is none to Python.
  name = trimmed(printable(std::move(name)));
  return name.empty() || name == "DEFAULT" ? "token" : name;
}

std::vector<StoredToken> read_stored_tokens() {
  const auto path = stored_tokens_file();
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return {};
  try {
    return parse_stored_tokens(read_file(path, kMostBytes));
  } catch (const FormatError& error) {
    log_warning(str("cannot understand ", path.string(), ": ", error.what(), "; `lorikeet auth login` writes it anew"));
    return {};
  }
}

void write_stored_tokens(const std::vector<StoredToken>& tokens) {
  const auto path = stored_tokens_file();
  std::error_code error;
  if (!tokens.empty()) return write_secret(path, stored_tokens_text(tokens));
  if (!fs::remove(path, error) && error) fail_to_write(path, error.value());
}

std::optional<std::string> read_token_file() {
  const auto path = token_file();
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return std::nullopt;
  return clean_token(read_file(path, kMostBytes), path.string());
}

void write_secret(const fs::path& path, std::string_view content) {
  std::error_code error;
  const fs::path target = fs::is_symlink(path, error) ? fs::weakly_canonical(path) : path;
  const fs::path folder = target.has_parent_path() ? target.parent_path() : ".";
  const bool is_new = fs::create_directories(folder, error);
  if (error) fail_to_write(path, error.value());
  // Where it is not ours to change, the file's own mode still holds. Another folder (HF_TOKEN_PATH) may be anybody's.
  if (is_new || fs::equivalent(folder, hub_home_folder(), error)) ::chmod(folder.c_str(), 0700);
  const fs::path aside = str(target.string(), ".", ::getpid(), ".incomplete");
  ::unlink(aside.c_str());
  const int descriptor = ::open(aside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (descriptor < 0) fail_to_write(path, errno);
  try {
    write_all(descriptor, content, path);
  } catch (...) {
    ::close(descriptor);
    ::unlink(aside.c_str());
    throw;
  }
  if (::close(descriptor) == 0 && ::rename(aside.c_str(), target.c_str()) == 0) return sync_folder(folder);
  const int reason = errno;
  ::unlink(aside.c_str());
  fail_to_write(path, reason);
}

std::optional<std::string> clean_token(const std::string& text, const std::string& origin) {
  std::string token = text;
  std::erase_if(token, [](char c) { return c == '\r' || c == '\n'; });
  token = trimmed(token);
  const auto is_odd = [](unsigned char c) { return c <= ' ' || c >= 0x7F; };
  if (std::any_of(token.begin(), token.end(), is_odd)) {
    throw UsageError(str("the token of ", origin, " has a blank or another character in it that no token has"),
                     "copy it once more from https://huggingface.co/settings/tokens");
  }
  if (token.empty()) return std::nullopt;
  return token;
}

}  // namespace lorikeet
