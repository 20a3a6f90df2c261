#include "cli/transfer_bar.h"

#include <algorithm>

namespace lorikeet {
namespace {

constexpr int64_t kMegabyte = 1'000'000;

}  // namespace

void TransferBar::show(const std::string& name, int64_t done, int64_t total) {
  if (std::max(total, done) < kMegabyte) return;
  if (!bar_ || name_ != name) {
    name_ = name;
    bar_ = std::make_unique<ProgressBar>(name_, total / kMegabyte, 0, ProgressOutput::standard_error(), "MB");
  }
  bar_->update(done / kMegabyte);
  if (done < total || total == 0) return;
  bar_.reset();
  name_.clear();
}

}  // namespace lorikeet
