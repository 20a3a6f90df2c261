#include "core/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <csignal>

#include "core/errors.h"

namespace lorikeet {
namespace {

constexpr int kInterruptedExitCode = 130;

std::atomic<bool> stop_flag{false};
static_assert(std::atomic<bool>::is_always_lock_free, "the flag is set from a signal handler");

void on_signal(int) {
  if (stop_flag.exchange(true)) _exit(kInterruptedExitCode);
}

}  // namespace

void install_interrupt_handlers() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  // Reads and writes under way go on, so that a checkpoint is not cut short.
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool stop_requested() { return stop_flag.load(std::memory_order_relaxed); }

void request_stop() { stop_flag.store(true); }

void stop_if_requested() {
  if (stop_requested()) throw Interrupted("stopped");
}

}  // namespace lorikeet
