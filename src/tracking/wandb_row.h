// One row of a run's history as Weights & Biases has it: all that was logged at one step.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tracking/proto_message.h"

namespace lorikeet {

/// Field numbers of wandb_internal.Record.
enum WandbRecordKind : int {
  kWandbHistory = 2,
  kWandbSummary = 3,
  kWandbFiles = 6,
  kWandbOutputRaw = 13,
  kWandbRun = 17,
  kWandbExit = 18,
  kWandbHeader = 21,
};

/// JSON values by path ({"loss"}, or {"validation", "captions"}); a later value of the same path replaces the earlier.
class WandbRow {
 public:
  void set(std::vector<std::string> path, std::string json);
  /// A number as wandb's JSON has it: shortest, with NaN, Infinity and -Infinity by name.
  void set_number(std::vector<std::string> path, double value);
  void merge(const WandbRow& later);
  bool empty() const { return items_.empty(); }
  /// The JSON of a top-level key, or nothing.
  std::optional<std::string> find(const std::string& key) const;

  /// HistoryRecord: the items, with _step and the step.
  ProtoMessage history(int64_t step) const;
  /// SummaryRecord: the same values as the last ones known.
  ProtoMessage summary(int64_t step) const;
  /// Reads the items of either record.
  static WandbRow from_record(int kind, std::string_view record);

 private:
  struct Item {
    std::vector<std::string> path;
    std::string json;
  };
  ProtoMessage items(int64_t step) const;
  std::vector<Item> items_;
};

/// What a resumed run must know of its earlier parts.
struct WandbPast {
  std::optional<int64_t> last_step;  // of the rows that are written
  double runtime = 0;                // seconds, at the last of them
  /// A row whose values are in the summary only, since the run was killed before it knew that the row is complete.
  std::optional<std::pair<int64_t, WandbRow>> unwritten;
};

/// Reads one earlier file's history up to `step`. With `cut`, what the file holds behind it is cut off, since a resumed
/// run makes those steps again. Throws FileError, FormatError.
WandbPast read_wandb_past(const std::filesystem::path& file, int64_t step, bool cut);

}  // namespace lorikeet
