#include "cli/work_bars.h"

#include <iostream>

#include "core/log.h"
#include "core/text.h"

namespace lorikeet {

WorkBars::WorkBars() {
  set_log_sink([this](LogLevel level, std::string_view message) {
    const char* prefix = level == LogLevel::kInfo ? "" : level == LogLevel::kWarning ? "warning: " : "error: ";
    write_line(str(prefix, message));
  });
}

WorkBars::~WorkBars() {
  finish();
  set_log_sink({});
}

void WorkBars::show(const std::string& name, int64_t done, int64_t total, const std::string& postfix) {
  auto& bar = bars_[name];
  if (!bar) bar = std::make_unique<ProgressBar>(name, total, done);
  drawn_ = name;
  bar->update(done, postfix);
  if (done < total) return;
  bar->finish();
  bars_.erase(name);
  drawn_.clear();
}

void WorkBars::finish() {
  for (auto& [name, bar] : bars_) bar->finish();
  bars_.clear();
  drawn_.clear();
}

void WorkBars::write_line(const std::string& line) {
  const auto bar = bars_.find(drawn_);
  if (bar != bars_.end()) {
    bar->second->write_line(line);
  } else {
    std::cerr << line << '\n';
  }
}

}  // namespace lorikeet
