// Where the parts of one run of Weights & Biases lie: one folder for each time it was started or resumed.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tracking/wandb_row.h"
#include "tracking/wandb_settings.h"
#include "tracking/wandb_sync.h"

namespace lorikeet {

class WandbRun {
 public:
  using Time = std::chrono::system_clock::time_point;

  /// Finds the id and the earlier parts in `record` (FOLDER/wandb-run.txt), where `first_step` is above 0; makes this
  /// part's folder and notes it there. Throws FileError.
  WandbRun(const WandbSettings& settings, const std::filesystem::path& record, int64_t first_step, Time start);

  const std::string& id() const { return id_; }
  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path file() const { return file_of(folder_); }
  /// What the earlier parts hold, after cutting off what is behind `first_step`.
  const WandbPast& past() const { return past_; }
  /// What went wrong with them: warnings to show.
  const std::vector<std::string>& troubles() const { return troubles_; }
  /// Those that are not uploaded, in the order of the steps.
  std::vector<WandbPart> parts_to_sync() const;

 private:
  std::filesystem::path file_of(const std::filesystem::path& folder) const;
  void read_record(const std::filesystem::path& record);
  void read_past(int64_t first_step);
  void make_folder(const std::filesystem::path& parent, Time start);

  std::string id_;
  std::filesystem::path folder_;
  std::vector<WandbPart> earlier_;
  bool resumed_;
  std::vector<std::string> troubles_;
  WandbPast past_;
};

}  // namespace lorikeet
