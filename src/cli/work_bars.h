// Progress bars of a command, and its log lines above them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "core/progress.h"

namespace lorikeet {

/// While it lives, log lines go above the bars instead of through them.
class WorkBars {
 public:
  WorkBars();
  ~WorkBars();
  WorkBars(const WorkBars&) = delete;
  WorkBars& operator=(const WorkBars&) = delete;

  /// The bar of this name stands at `done` of `total`; it appears with the first call and is ended at its total.
  void show(const std::string& name, int64_t done, int64_t total, const std::string& postfix = "");
  /// Ends every bar where it is.
  void finish();

 private:
  void write_line(const std::string& line);

  // One inside another: the last is drawn.
  std::map<std::string, std::unique_ptr<ProgressBar>> bars_;
  std::string drawn_;
};

}  // namespace lorikeet
