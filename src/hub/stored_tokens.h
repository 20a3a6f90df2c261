// Access tokens on this machine, in the files the `hf` program keeps: the active one, and all by name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lorikeet {

/// $HF_TOKEN_PATH, or `token` in hub_home_folder(): the active token's text.
std::filesystem::path token_file();
/// `stored_tokens` beside it: an INI file with a section for each.
std::filesystem::path stored_tokens_file();

struct StoredToken {
  std::string name;
  std::string token;
  /// Of a login in the browser.
  std::optional<std::string> refresh_token;
  std::optional<int64_t> expires_at;  // seconds since 1970
};

/// Sections as Python's configparser reads them. Throws FormatError naming the line of what is no INI file; the message
/// holds nothing of its content.
std::vector<StoredToken> parse_stored_tokens(const std::string& text);
/// Sorted by name, as Python's configparser writes them.
std::string stored_tokens_text(std::vector<StoredToken> tokens);

/// A name as it stands in the file: on one line, without blanks around it, and none that Python's writer cannot hold.
std::string token_section(std::string name);

/// Empty where there is no such file, and, with a warning, where it is none.
std::vector<StoredToken> read_stored_tokens();
/// The file is removed when the list is empty. Throws FileError.
void write_stored_tokens(const std::vector<StoredToken>& tokens);

/// What the token file holds, trimmed; nothing where it is missing or empty.
std::optional<std::string> read_token_file();

/// Replaces a file with one only its owner can read (0600), atomically. Its folder is made, with 0700; that of HF_HOME
/// becomes so. Throws FileError.
void write_secret(const std::filesystem::path& path, std::string_view content);

/// A token without blanks and line ends around and in it; nothing when nothing is left. Throws UsageError for
/// characters that no token has; `origin` says where it came from, the token is not in the message.
std::optional<std::string> clean_token(const std::string& text, const std::string& origin);

}  // namespace lorikeet
