#include "tracking/tracker.h"

#include "core/log.h"
#include "core/text.h"

namespace lorikeet {

void Tracker::log_config(const std::string& json) {
  guard([&] { write_config(json); });
}

void Tracker::log_scalars(const Scalars& values, int64_t step) {
  guard([&] { write_scalars(values, step); });
}

void Tracker::log_images(const std::string& tag, const std::vector<TrackedImage>& images, int64_t step) {
  if (images.empty()) return;
  guard([&] { write_images(tag, images, step); });
}

void Tracker::log_console(std::string_view text) noexcept {
  try {
    write_console(text);
  } catch (const std::exception&) {
    // A warning would come back here; the next value that is logged will give one.
  }
}

void Tracker::finish(int exit_code) {
  guard([&] { write_end(exit_code); });
}

void Tracker::guard(const std::function<void()>& write) {
  try {
    write();
  } catch (const std::exception& error) {
    if (warned_) return;
    warned_ = true;
    log_warning(str(name_, " logging failed (training goes on): ", error.what()));
  }
}

}  // namespace lorikeet
