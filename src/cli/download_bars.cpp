#include "cli/download_bars.h"

namespace lorikeet {

DownloadBars::DownloadBars() {
  set_download_watcher([this](const DownloadState& state) { bar_.show(state.name, state.done, state.total); });
}

DownloadBars::~DownloadBars() { set_download_watcher({}); }

}  // namespace lorikeet
