#include "training/run_trackers.h"

#include <filesystem>

#include "core/log.h"
#include "core/text.h"
#include "tracking/jsonl_tracker.h"
#include "tracking/report_to.h"
#include "tracking/tensorboard_tracker.h"
#include "tracking/wandb_settings.h"
#include "tracking/wandb_tracker.h"

namespace lorikeet {
namespace {

constexpr int kGridColumns = 8;

std::string png_grid(const std::vector<std::string>& pngs) {
  std::vector<Image> images;
  for (const auto& png : pngs) images.push_back(decode_image(png, "a validation picture"));
  return encode_png(image_grid(images, kGridColumns, /*fill=*/0));
}

}  // namespace

void check_trackers(const TrainOptions& options) {
  if (parse_report_to(options.report_to).wandb) read_wandb_settings(options.logging_dir, "lorikeet");
}

RunTrackers::RunTrackers(const TrainOptions& options, const std::string& name, const std::string& options_json,
                         int64_t first_step, int64_t logged)
    : logged_(logged) {
  const auto folder = std::filesystem::path(options.output_dir) / options.logging_dir;
  const auto wanted = parse_report_to(options.report_to);
  trackers_.push_back(make_jsonl_tracker(folder / str(name, ".jsonl"), first_step, logged));
  if (wanted.tensorboard) trackers_.push_back(make_tensorboard_tracker(folder / name, png_grid, first_step));
  if (wanted.wandb) {
    WandbOptions wandb;
    wandb.folder = folder;
    wandb.project = name;
    wandb.first_step = first_step;
    trackers_.push_back(make_wandb_tracker(std::move(wandb)));
  }
  for (auto& tracker : trackers_) tracker->log_config(options_json);
  set_log_tap([this](std::string_view line) {
    for (auto& tracker : trackers_) tracker->log_console(line);
  });
}

RunTrackers::~RunTrackers() { set_log_tap({}); }

void RunTrackers::log_scalars(const std::vector<std::pair<std::string, double>>& values, int64_t step) {
  ++logged_;
  for (auto& tracker : trackers_) tracker->log_scalars(values, step);
}

void RunTrackers::log_images(const std::string& tag, const std::vector<Image>& images,
                             const std::vector<std::string>& prompts, int64_t step) {
  if (images.empty()) return;
  ++logged_;
  std::vector<TrackedImage> tracked;
  for (size_t i = 0; i < images.size(); ++i) tracked.push_back({encode_png(images[i]), str(i, ": ", prompts.at(i))});
  for (auto& tracker : trackers_) tracker->log_images(tag, tracked, step);
}

void RunTrackers::finish(int exit_code) {
  set_log_tap({});
  for (auto& tracker : trackers_) tracker->finish(exit_code);
}

}  // namespace lorikeet
