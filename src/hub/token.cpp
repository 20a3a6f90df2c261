#include "hub/token.h"

#include <algorithm>
#include <ctime>
#include <mutex>

#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/endpoint.h"
#include "hub/environment.h"
#include "hub/file_lock.h"
#include "hub/login.h"
#include "hub/oidc.h"
#include "hub/stored_tokens.h"

namespace lorikeet {
namespace {

constexpr int64_t kRenewBefore = 24 * 3600;  // seconds of validity that are left

auto find_token(std::vector<StoredToken>& tokens, const std::string& token) {
  return std::find_if(tokens.begin(), tokens.end(), [&](const auto& stored) { return stored.token == token; });
}

bool ends_soon(const StoredToken& token) {
  return token.refresh_token && token.expires_at && *token.expires_at - kRenewBefore <= std::time(nullptr);
}

/// Under the lock, for a server may give a refresh token only once.
std::string renew(const std::string& token) {
  const FileLock lock(stored_tokens_file().string() + ".lock");
  auto tokens = read_stored_tokens();
  const auto stored = find_token(tokens, token);
  if (stored == tokens.end()) return read_token_file().value_or(token);  // another process was faster
  const auto fresh = refresh_oauth_token(*stored->refresh_token);
  stored->token = fresh.access_token;
  if (fresh.refresh_token) stored->refresh_token = fresh.refresh_token;
  stored->expires_at.reset();
  if (fresh.expires_in) stored->expires_at = std::time(nullptr) + *fresh.expires_in;
  write_stored_tokens(tokens);
  if (read_token_file() == token) write_secret(token_file(), fresh.access_token);
  return fresh.access_token;
}

std::string renewed_if_needed(const std::string& token) {
  auto tokens = read_stored_tokens();
  const auto stored = find_token(tokens, token);
  if (stored == tokens.end() || !ends_soon(*stored) || hub_is_offline()) return token;
  static std::mutex mutex;
  static std::string failed;  // a token is tried once in a process
  const std::scoped_lock guard(mutex);
  if (failed == token) return token;
  try {
    return renew(token);
  } catch (const Interrupted&) {
    throw;
  } catch (const LoginError& error) {
    log_warning(
        str("your login to the Hub has expired and cannot be renewed (", error.code(), "): run `lorikeet auth login`"));
  } catch (const Error& error) {
    log_warning(str("could not renew your login to the Hub: ", error.what()));
  }
  failed = token;
  return token;
}

}  // namespace

std::optional<std::string> environment_token() {
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    if (const auto value = environment(name)) return clean_token(*value, name);
  }
  return std::nullopt;
}

std::optional<std::string> logged_in_token() {
  if (auto token = oidc_token()) return token;
  if (auto token = environment_token()) return token;
  const auto token = read_token_file();
  if (!token) return std::nullopt;
  return renewed_if_needed(*token);
}

std::optional<std::string> hub_token() {
  if (environment_flag("HF_HUB_DISABLE_IMPLICIT_TOKEN")) return std::nullopt;
  return logged_in_token();
}

}  // namespace lorikeet
