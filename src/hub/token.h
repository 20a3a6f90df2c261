// Which token speaks to the Hub: the environment's, or that of the last login.
#pragma once

#include <optional>
#include <string>

namespace lorikeet {

/// A CI job's own (oidc.h), $HF_TOKEN, $HUGGING_FACE_HUB_TOKEN, or the token file's, the first that is there. A token
/// of a browser login that ends within a day is renewed first, in both files, under the lock the `hf` program takes;
/// when that fails there is a warning, and the old one. Throws UsageError for text that can be no token, which is never
/// in a message.
std::optional<std::string> logged_in_token();

/// The same, for requests nobody named a token for: none when $HF_HUB_DISABLE_IMPLICIT_TOKEN is set.
std::optional<std::string> hub_token();

/// $HF_TOKEN or $HUGGING_FACE_HUB_TOKEN: it wins whatever is logged in or out.
std::optional<std::string> environment_token();

}  // namespace lorikeet
