// Stopping on request: Ctrl-C or SIGTERM sets a flag that long work looks at between steps.
#pragma once

namespace lorikeet {

/// From here on the first SIGINT or SIGTERM makes `stop_requested()` true; a second one ends the process at once,
/// with exit code 130.
void install_interrupt_handlers();

bool stop_requested();

/// Makes `stop_requested()` true without a signal, as a caller's own stop button would.
void request_stop();

/// Throws Interrupted when a stop was requested. For work that has nothing to put in order first.
void stop_if_requested();

}  // namespace lorikeet
