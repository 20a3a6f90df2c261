// A token for a CI job that has none: its provider's word for who it is, exchanged at the Hub (RFC 8693).
#pragma once

#include <optional>
#include <string>

namespace lorikeet {

/// Nothing unless $HF_OIDC_RESOURCE is set: a repository (owner/name, datasets/owner/name) the token may write to, or a
/// user whose gated models it may read. The job's identity is $HF_OIDC_ID_TOKEN, or what GitHub Actions makes of
/// $ACTIONS_ID_TOKEN_REQUEST_URL and _TOKEN. A token is kept while it is valid, in this process only. Whoever sets the
/// variable wants this and no other token: what goes wrong is thrown, as HubError, without any token in it.
/// Source: huggingface_hub 2.4.0.
std::optional<std::string> oidc_token();

}  // namespace lorikeet
