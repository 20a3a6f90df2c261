// What goes wrong between this machine and the Hub, told as people need it.
#pragma once

#include <string>

#include "core/errors.h"
#include "hub/endpoint.h"
#include "hub/transport.h"

namespace lorikeet {

/// No answer came, or only part of one: trying again may help.
class ConnectionError : public HubError {
  using HubError::HubError;
};

/// The server could not be reached at all.
class NoConnectionError : public ConnectionError {
  using ConnectionError::ConnectionError;
};

/// The server was reached, and then nothing came: what was asked for may still be done.
class TimeOutError : public ConnectionError {
  using ConnectionError::ConnectionError;
};

/// What an answer that is no success means.
enum class HubProblem {
  kRepoNotFound,  // missing, or private without a token that may see it
  kRevisionNotFound,
  kEntryNotFound,  // no such file
  kGated,          // its owner's terms must be accepted first
  kDisabled,
  kBadToken,
  kForbidden,
  kConflict,         // 409
  kTooManyRequests,  // 429, after waiting as told
  kServer,           // 5xx, and 408
  kProxy,            // 407: it wants a name and a password
  kRedirect,         // one that may not be followed
  kOther
};

/// The Hub answered with a status that is no success.
class HubAnswerError : public HubError {
 public:
  HubAnswerError(HubProblem problem, int status, const std::string& message, const std::string& hint)
      : HubError(message, hint), problem_(problem), status_(status) {}
  HubProblem problem() const { return problem_; }
  int status() const { return status_; }

 private:
  HubProblem problem_;
  int status_;
};

/// What an answer means, by X-Error-Code, X-Error-Message and status. `on_repo`: the URL was that of a repository,
/// where 401 without a code means that there is none, or that it is private.
HubProblem problem_of(const HttpResponse& response, bool on_repo);

/// What the server itself says: X-Error-Message, or `error`, `errors[].message`, `error_description` of a JSON body; on
/// one line, at most 300 bytes; empty without one.
std::string server_words(const HttpResponse& response);

/// Throws HubAnswerError unless the status is 2xx. `what` is what was asked for, as in "cannot read WHAT".
void require_success(const HttpResponse& response, const std::string& what);
/// The same for something done: "cannot WHAT".
void require_done(const HttpResponse& response, const std::string& what);
/// The same for a request on a repository; `revision` and `path` may be empty.
void require_success(const HttpResponse& response, const HubRepo& repo, const std::string& revision = "",
                     const std::string& path = "");

}  // namespace lorikeet
