#include "cli/download_bars.h"

#include <algorithm>

namespace lorikeet {
namespace {

constexpr int64_t kMegabyte = 1'000'000;

}  // namespace

DownloadBars::DownloadBars() {
  set_download_watcher([this](const DownloadState& state) { show(state); });
}

DownloadBars::~DownloadBars() { set_download_watcher({}); }

void DownloadBars::show(const DownloadState& state) {
  if (std::max(state.total, state.done) < kMegabyte) return;
  if (!bar_ || name_ != state.name) {
    name_ = state.name;
    bar_ = std::make_unique<ProgressBar>(name_, state.total / kMegabyte, 0, ProgressOutput::standard_error(), "MB");
  }
  bar_->update(state.done / kMegabyte);
  if (state.done < state.total || state.total == 0) return;
  bar_.reset();
  name_.clear();
}

}  // namespace lorikeet
