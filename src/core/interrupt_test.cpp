#include "core/interrupt.h"

#include <gtest/gtest.h>

#include <csignal>

#include "core/errors.h"

namespace lorikeet {
namespace {

void stop_after_one_signal() {
  install_interrupt_handlers();
  if (stop_requested()) std::_Exit(3);
  std::raise(SIGTERM);
  std::_Exit(stop_requested() ? 0 : 4);
}

void stop_after_two_signals() {
  install_interrupt_handlers();
  std::raise(SIGINT);
  std::raise(SIGINT);
  std::_Exit(0);
}

void stop_without_a_signal() {
  stop_if_requested();
  request_stop();
  try {
    stop_if_requested();
  } catch (const Interrupted&) {
    std::_Exit(0);
  }
  std::_Exit(5);
}

TEST(Interrupt, FirstSignalOnlySetsTheFlag) { EXPECT_EXIT(stop_after_one_signal(), testing::ExitedWithCode(0), ""); }

TEST(Interrupt, SecondSignalEndsTheProcess) { EXPECT_EXIT(stop_after_two_signals(), testing::ExitedWithCode(130), ""); }

TEST(Interrupt, StopIsThrownOnlyOnceRequested) { EXPECT_EXIT(stop_without_a_signal(), testing::ExitedWithCode(0), ""); }

}  // namespace
}  // namespace lorikeet
