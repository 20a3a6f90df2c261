#include "tracking/tensorboard_tracker.h"

#include <charconv>
#include <chrono>
#include <optional>

#include "core/atomic_file.h"
#include "core/text.h"
#include "tracking/event_file.h"
#include "tracking/hparams.h"
#include "tracking/png_size.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;

/// Seconds since 1970 as Python's str(time.time()) spells them.
std::string time_name() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, std::chrono::duration<double>(now).count()).ptr;
  return {buffer, end};
}

class TensorBoardTracker final : public Tracker {
 public:
  TensorBoardTracker(fs::path folder, GridMaker grid, int64_t first_step)
      : Tracker("TensorBoard"), folder_(std::move(folder)), grid_(std::move(grid)), first_step_(first_step) {}

 private:
  void write_config(const std::string& json) override {
    events();  // a reader finds the run at once, before its first step
    EventFile file(folder_ / time_name());
    for (const ProtoMessage& value : hparams_values(json)) file.add_value(value, std::nullopt);
    const fs::path yaml_folder = folder_ / time_name();
    fs::create_directories(yaml_folder);
    write_file_atomically(yaml_folder / "hparams.yml", hparams_yaml(json));
  }

  void write_scalars(const Scalars& values, int64_t step) override {
    for (const auto& [name, value] : values) {
      events().add_value(ProtoMessage().add_bytes(1, name).add_float(2, static_cast<float>(value)), step);
    }
  }

  void write_images(const std::string& tag, const std::vector<TrackedImage>& images, int64_t step) override {
    std::vector<std::string> pngs;
    for (const TrackedImage& image : images) pngs.push_back(image.png);
    const std::string png = pngs.size() == 1 ? pngs[0] : grid_(pngs);
    const auto [width, height] = png_size(png);
    constexpr int64_t kRgb = 3;
    const ProtoMessage image = ProtoMessage().add_int(1, height).add_int(2, width).add_int(3, kRgb).add_bytes(4, png);
    events().add_value(ProtoMessage().add_bytes(1, tag).add_message(4, image), step);
  }

  /// Opened by the first use, so that a folder that cannot be written is a warning like any other.
  EventFile& events() {
    if (!events_) {
      events_.emplace(folder_);
      if (first_step_ > 0) events_->add_restart(first_step_ + 1);
    }
    return *events_;
  }

  fs::path folder_;
  GridMaker grid_;
  int64_t first_step_;
  std::optional<EventFile> events_;
};

}  // namespace

std::unique_ptr<Tracker> make_tensorboard_tracker(const fs::path& folder, GridMaker grid, int64_t first_step) {
  return std::make_unique<TensorBoardTracker>(folder, std::move(grid), first_step);
}

}  // namespace lorikeet
