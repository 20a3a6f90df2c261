#include "training/run_trackers.h"

#include <filesystem>

#include "core/text.h"
#include "tracking/jsonl_tracker.h"
#include "tracking/tensorboard_tracker.h"
#include "tracking/tracker.h"

namespace lorikeet {
namespace {

constexpr const char* kName = "dreambooth-lora";  // what Diffusers' script calls its tracker project
constexpr int kGridColumns = 8;

std::string png_grid(const std::vector<std::string>& pngs) {
  std::vector<Image> images;
  for (const auto& png : pngs) images.push_back(decode_image(png, "a validation picture"));
  return encode_png(image_grid(images, kGridColumns, /*fill=*/0));
}

}  // namespace

RunTrackers::RunTrackers(const TrainDreamboothOptions& options, int64_t first_step) {
  const auto folder = std::filesystem::path(options.output_dir) / options.logging_dir;
  trackers_.push_back(make_jsonl_tracker(folder / str(kName, ".jsonl"), first_step));
  if (options.report_to == "tensorboard" || options.report_to == "all") {
    trackers_.push_back(make_tensorboard_tracker(folder / kName, png_grid, first_step));
  }
  auto copy = options;
  const auto config = fields(copy).to_json();
  for (auto& tracker : trackers_) tracker->log_config(config);
}

RunTrackers::~RunTrackers() = default;

void RunTrackers::log_scalars(const std::vector<std::pair<std::string, double>>& values, int64_t step) {
  for (auto& tracker : trackers_) tracker->log_scalars(values, step);
}

void RunTrackers::log_images(const std::string& tag, const std::vector<Image>& images, const std::string& prompt,
                             int64_t step) {
  if (images.empty()) return;
  std::vector<TrackedImage> tracked;
  for (size_t i = 0; i < images.size(); ++i) tracked.push_back({encode_png(images[i]), str(i, ": ", prompt)});
  for (auto& tracker : trackers_) tracker->log_images(tag, tracked, step);
}

void RunTrackers::finish() {
  for (auto& tracker : trackers_) tracker->finish();
}

}  // namespace lorikeet
