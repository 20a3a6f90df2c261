// Trying again: what the Hub asks to wait for, and what may only have been an accident of the network.
#pragma once

#include <optional>
#include <string>

#include "hub/transport.h"

namespace lorikeet {

/// Waits of `first`, twice that, ... at most `most` seconds between tries; longer where the server says so.
struct RetryPolicy {
  int retries = 5;
  double first = 1, most = 8;

  /// The usual one; $LORIKEET_HUB_BACKOFF replaces `first` (tests do not wait).
  static RetryPolicy usual();
  double wait_before(int retry) const;  // seconds; the first retry is 1
};

/// 408, 429, 500, 502, 503 and 504.
bool is_worth_retrying(int status);

/// What an answer of 429 or 503 asks for, in seconds: the `t` of a `ratelimit` header whose `r` is 0, plus one, or
/// Retry-After; at most an hour.
std::optional<double> asked_wait(const HttpResponse& response);

/// Sleeps, and throws Interrupted as soon as a stop is requested.
void wait_for_retry(double seconds);

/// Logs "WHAT; trying again in 2 seconds", and waits.
void tell_and_wait(const std::string& what, double seconds);

/// Sends until there is an answer that is not worth retrying, or none is left: then the last answer is returned, or the
/// last ConnectionError thrown (a server that cannot be reached at all is tried three times). Every wait is told in the
/// log. Not for requests with a sink, nor for those that must not be done twice (a commit).
HttpResponse send_with_retries(HttpClient& client, const HttpRequest& request,
                               const RetryPolicy& policy = RetryPolicy::usual());

}  // namespace lorikeet
