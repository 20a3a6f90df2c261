// The small run that tests of this layer look at from all sides: the model that comes with the program, real pictures.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "core/log.h"
#include "data/data_test_support.h"
#include "engine/random.h"
#include "training/step_loss.h"

namespace lorikeet {

constexpr const char* kModel = "models/lorikeet-base";
constexpr PictureTransform kSide64{64, Interpolation::kLanczos};

/// Every picture of a folder, cut to 64 x 64 unless told otherwise.
inline std::unique_ptr<PictureSet> open_set(const std::filesystem::path& folder, PictureTransform transform = kSide64) {
  std::vector<std::string> skipped;
  return std::make_unique<PictureSet>(list_pictures(folder, skipped), transform);
}

/// Set 0 has pictures of many shapes and kinds, set 1 five squares.
inline PictureSets open_sets() {
  PictureSets sets;
  sets.push_back(open_set("tests/data/dreambooth_traces/pictures"));
  sets.push_back(open_set("examples/demo-subject"));
  return sets;
}

inline PictureRef picture(int64_t set, int64_t index, Crop crop = {}, bool flip = false, std::string caption = "") {
  return {set, index, crop, flip, std::move(caption)};
}

/// What a run on the CPU holds when its first step begins.
struct SmallRun {
  explicit SmallRun(TrainOptions chosen = {}, PictureSets pictures = open_sets())
      : options(std::move(chosen)), generators(make_training_generators(7, torch::kCPU)), sets(std::move(pictures)) {
    options.resolution = 64;
    models = load_training_models(kModel, options, precision, generators, {});
    auto draw = make_generator(8);
    torch::NoGradGuard no_grad;
    // As if it had learned something.
    for (auto& parameter : models.trained_parameters()) parameter.value.normal_(0, 0.02, draw);
  }

  StepLoss loss(std::optional<double> prior_loss_weight = std::nullopt) {
    return {models, options, precision, generators, sets, prior_loss_weight};
  }

  TrainOptions options;
  TrainingPrecision precision;
  TrainingGenerators generators;
  PictureSets sets;
  TrainingModels models;
};

/// Keeps log lines for a test to look at, and off the screen.
class LogCatcher {
 public:
  LogCatcher() {
    set_log_sink([this](LogLevel, std::string_view line) { lines_.emplace_back(line); });
  }
  ~LogCatcher() { set_log_sink({}); }
  LogCatcher(const LogCatcher&) = delete;
  LogCatcher& operator=(const LogCatcher&) = delete;
  const std::vector<std::string>& lines() const { return lines_; }

 private:
  std::vector<std::string> lines_;
};

/// Every regular file below `folder`.
inline std::vector<std::filesystem::path> files_below(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  return files;
}

}  // namespace lorikeet
