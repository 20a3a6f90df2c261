// Errors about a name that may be a path as well as an id on the Hub.
#pragma once

#include <string>

#include "core/text.h"
#include "hub/hub_error.h"

namespace lorikeet {

/// Does `action`; a misspelt path looks like an id, so that where there is no such repository, or no connection, the
/// message speaks of both.
template <class Action>
auto asking_for(const std::string& name, Action action) {
  const std::string start = str("\"", name, "\" is no path here, and ");
  try {
    return action();
  } catch (const HubAnswerError& error) {
    if (error.problem() != HubProblem::kRepoNotFound) throw;
    throw HubAnswerError(error.problem(), error.status(), start + error.what(), error.hint());
  } catch (const NoConnectionError& error) {
    throw NoConnectionError(str(start, "the Hub cannot be reached: ", error.what()), error.hint());
  }
}

}  // namespace lorikeet
