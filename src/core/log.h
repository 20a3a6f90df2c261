// Log lines for people. Torch-free on purpose: torch ships another fmt than Debian's spdlog uses.
#pragma once

#include <functional>
#include <string_view>

namespace lorikeet {

enum class LogLevel { kInfo, kWarning, kError };

void log_info(std::string_view message);
void log_warning(std::string_view message);
void log_error(std::string_view message);

/// Sends every line to `sink` instead of standard error; an empty sink brings standard error back.
void set_log_sink(std::function<void(LogLevel, std::string_view)> sink);

/// Hands every line to `tap` as well, whatever the sink does; an empty tap ends that. The tap must not log.
void set_log_tap(std::function<void(std::string_view)> tap);

}  // namespace lorikeet
