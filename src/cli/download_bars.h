// A progress bar for whatever is downloaded while a command runs.
#pragma once

#include "cli/transfer_bar.h"
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
  TransferBar bar_;
};

}  // namespace lorikeet
