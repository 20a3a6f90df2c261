#include "tracking/wandb_run.h"

#include <ctime>
#include <sstream>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;

/// The server has at least a part of it: changing it now would make the two differ.
bool is_uploaded(const fs::path& file) {
  return fs::exists(file.string() + ".synced") || fs::exists(file.string() + ".syncstate");
}

std::string time_name(WandbRun::Time time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm local{};
  ::localtime_r(&seconds, &local);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%d_%H%M%S", &local);
  return text;
}

}  // namespace

WandbRun::WandbRun(const WandbSettings& settings, const fs::path& record, int64_t first_step, Time start)
    : id_(settings.run_id), resumed_(first_step > 0) {
  if (first_step > 0) read_record(record);
  if (id_.empty()) id_ = new_wandb_run_id();
  if (first_step > 0) read_past(first_step);
  make_folder(fs::absolute(settings.folder), start);
  std::string text = id_ + "\n";
  for (const WandbPart& part : earlier_) text += part.folder.string() + "\n";
  text += folder_.string() + "\n";
  fs::create_directories(record.parent_path());
  write_file_atomically(record, text);
}

fs::path WandbRun::file_of(const fs::path& folder) const { return folder / str("run-", id_, ".wandb"); }

void WandbRun::read_record(const fs::path& record) {
  if (!fs::exists(record)) return;
  std::istringstream lines(read_file(record, 1 << 20));
  std::string id;
  std::getline(lines, id);
  if (!is_wandb_run_id(id) || (!id_.empty() && id_ != id)) return;  // another run's
  id_ = id;
  bool resumed = false;
  for (std::string folder; std::getline(lines, folder); resumed = true) {
    if (fs::exists(file_of(folder))) earlier_.push_back({folder, resumed});
  }
}

void WandbRun::read_past(int64_t first_step) {
  for (const WandbPart& earlier : earlier_) {
    const fs::path file = file_of(earlier.folder);
    try {
      const WandbPast part = read_wandb_past(file, first_step, !is_uploaded(file));
      if (part.last_step && part.last_step >= past_.last_step.value_or(-1)) {
        past_.last_step = part.last_step;
        past_.runtime = part.runtime;
        past_.unwritten.reset();
      }
      if (part.unwritten && part.unwritten->first > past_.last_step.value_or(-1)) past_.unwritten = part.unwritten;
    } catch (const std::exception& error) {
      troubles_.push_back(str("wandb: cannot read the run's earlier part ", file.string(), ": ", error.what()));
    }
  }
}

void WandbRun::make_folder(const fs::path& parent, Time start) {
  fs::create_directories(parent);
  // Two parts begun in the same second must not share a folder.
  for (int tries = 0; tries < 100; ++tries, start += std::chrono::seconds(1)) {
    folder_ = parent / str("offline-run-", time_name(start), "-", id_);
    if (!fs::create_directory(folder_)) continue;
    fs::create_directory(folder_ / "files");
    fs::create_directory(folder_ / "logs");
    return;
  }
  throw FileError(str("cannot make ", folder_.string(), ": it is there already"));
}

std::vector<WandbPart> WandbRun::parts_to_sync() const {
  std::vector<WandbPart> parts;
  for (const WandbPart& part : earlier_) {
    if (!fs::exists(file_of(part.folder).string() + ".synced")) parts.push_back(part);
  }
  parts.push_back({folder_, resumed_});
  return parts;
}

}  // namespace lorikeet
