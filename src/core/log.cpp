#include "core/log.h"

#include <iostream>
#include <mutex>
#include <utility>

namespace lorikeet {
namespace {

std::mutex g_mutex;
std::function<void(LogLevel, std::string_view)> g_sink;
std::function<void(std::string_view)> g_tap;

void emit(LogLevel level, std::string_view message) {
  std::lock_guard lock(g_mutex);
  if (g_tap) g_tap(message);
  if (g_sink) {
    g_sink(level, message);
    return;
  }
  const char* prefix = level == LogLevel::kInfo ? "" : level == LogLevel::kWarning ? "warning: " : "error: ";
  std::cerr << prefix << message << '\n';
}

}  // namespace

void log_info(std::string_view message) { emit(LogLevel::kInfo, message); }
void log_warning(std::string_view message) { emit(LogLevel::kWarning, message); }
void log_error(std::string_view message) { emit(LogLevel::kError, message); }

void set_log_sink(std::function<void(LogLevel, std::string_view)> sink) {
  std::lock_guard lock(g_mutex);
  g_sink = std::move(sink);
}

void set_log_tap(std::function<void(std::string_view)> tap) {
  std::lock_guard lock(g_mutex);
  g_tap = std::move(tap);
}

}  // namespace lorikeet
