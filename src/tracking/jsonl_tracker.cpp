#include "tracking/jsonl_tracker.h"

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/errors.h"
#include "core/text.h"
#include "tracking/append_file.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr size_t kMostPending = size_t{1} << 20;  // bytes

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// How much of an interrupted run's log a run resumed at `first_step` keeps: whole lines, so many records, none of a
/// later step. Where the records were not counted, the first one that has reached this step is the last. (With gradient
/// accumulation several lines share a step; the first of them closes it.)
uintmax_t kept_bytes(const fs::path& file, int64_t first_step, std::optional<int64_t> records) {
  std::ifstream in(file, std::ios::binary);
  uintmax_t kept = 0;
  int64_t left = records.value_or(INT64_MAX);
  for (std::string line; left > 0 && std::getline(in, line);) {
    if (in.eof()) break;  // the last line was cut short when the run was killed
    const Json entry = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    const bool has_step = entry.is_object() && entry.contains("step") && entry["step"].is_number_integer();
    const bool is_scalars = has_step && !entry.contains("images");  // pictures may be counted by epoch
    if (is_scalars && entry["step"].get<int64_t>() > first_step) break;
    kept += line.size() + 1;
    left -= has_step;
    if (!records && is_scalars && entry["step"].get<int64_t>() == first_step) break;
  }
  return kept;
}

class JsonlTracker final : public Tracker {
 public:
  JsonlTracker(fs::path file, int64_t first_step, std::optional<int64_t> records)
      : Tracker("JSONL"), path_(std::move(file)), first_step_(first_step), records_(records) {}

 private:
  void write_config(const std::string& json) override {
    Json line;
    line["time"] = wall_time();
    line["config"] = Json::parse(json);
    append(line);
  }

  void write_scalars(const Scalars& values, int64_t step) override {
    Json line;
    line["step"] = step;
    line["time"] = wall_time();
    for (const auto& [name, value] : values) line[name] = value;
    append(line);
  }

  void write_images(const std::string& tag, const std::vector<TrackedImage>& images, int64_t step) override {
    Json line;
    line["step"] = step;
    line["time"] = wall_time();
    for (const TrackedImage& image : images) line["images"][tag].push_back(image.caption);
    append(line);
  }

  void append(const Json& line) {
    if (pending_.size() > kMostPending) pending_.clear();
    pending_ += line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
    if (!file_) open();
    file_->append(pending_);
    pending_.clear();
  }

  void open() {
    std::error_code error;
    if (fs::exists(path_, error)) {
      if (first_step_ > 0) {
        fs::resize_file(path_, kept_bytes(path_, first_step_, records_), error);
      } else {
        fs::path previous = path_;
        fs::rename(path_, previous.replace_extension(".previous" + path_.extension().string()), error);
      }
      if (error) throw FileError(str("cannot change ", path_.string(), ": ", error.message()));
    }
    file_.emplace(path_);
  }

  fs::path path_;
  int64_t first_step_;
  std::optional<int64_t> records_;
  std::string pending_;  // lines that could not be written
  std::optional<AppendFile> file_;
};

}  // namespace

std::unique_ptr<Tracker> make_jsonl_tracker(const fs::path& file, int64_t first_step, std::optional<int64_t> records) {
  return std::make_unique<JsonlTracker>(file, first_step, records);
}

}  // namespace lorikeet
