// A progress bar for whatever is downloaded while a command runs.
#pragma once

#include <memory>
#include <string>

#include "core/progress.h"
#include "hub/download.h"

namespace lorikeet {

/// While it lives, every download of more than a megabyte has a bar on standard error, in megabytes.
class DownloadBars {
 public:
  DownloadBars();
  ~DownloadBars();
  DownloadBars(const DownloadBars&) = delete;
  DownloadBars& operator=(const DownloadBars&) = delete;

 private:
  void show(const DownloadState& state);

  std::unique_ptr<ProgressBar> bar_;
  std::string name_;
};

}  // namespace lorikeet
