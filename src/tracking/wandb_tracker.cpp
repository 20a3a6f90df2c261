#include "tracking/wandb_tracker.h"

#include <unistd.h>
#include <zlib.h>

#include <cstdio>
#include <ctime>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "tracking/png_size.h"
#include "tracking/wandb_file.h"
#include "tracking/wandb_row.h"
#include "tracking/wandb_run.h"
#include "tracking/wandb_settings.h"
#include "tracking/wandb_sync.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::system_clock;
using Json = nlohmann::ordered_json;

double seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

/// google.protobuf.Timestamp
ProtoMessage timestamp(Clock::time_point time) {
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
  return ProtoMessage().add_int(1, ns / 1'000'000'000).add_int(2, ns % 1'000'000'000);
}

/// Letters that a file's name may hold on every system.
std::string file_name(std::string text) {
  for (char& c : text) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.';
    if (!plain) c = '_';
  }
  return text;
}

std::string hex_crc(const std::string& bytes) {
  char text[16];
  const auto crc = crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size()));
  std::snprintf(text, sizeof text, "%08lx", crc);
  return text;
}

std::string json_text(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

/// WANDB_MODE=disabled
class NoTracker final : public Tracker {
 public:
  NoTracker() : Tracker("wandb") {}

 private:
  void write_config(const std::string&) override {}
  void write_scalars(const Scalars&, int64_t) override {}
  void write_images(const std::string&, const std::vector<TrackedImage>&, int64_t) override {}
};

class WandbTracker final : public Tracker {
 public:
  WandbTracker(WandbOptions options, WandbSettings settings)
      : Tracker("wandb"), options_(std::move(options)), settings_(std::move(settings)), start_(Clock::now()) {}

  ~WandbTracker() override {
    try {
      const std::lock_guard lock(mutex_);
      if (begun_) end_row();
    } catch (const std::exception&) {  // there is nothing left to lose but this row
    }
  }

 private:
  void write_config(const std::string& json) override {
    locked([&] { open(without_secrets(json)); });
  }

  void write_scalars(const Scalars& values, int64_t step) override {
    locked([&] {
      if (!begin_row(step)) return;
      WandbRow row;
      for (const auto& [name, value] : values) row.set_number({name}, value);
      add_to_row(std::move(row));
    });
  }

  void write_images(const std::string& tag, const std::vector<TrackedImage>& images, int64_t) override {
    locked([&] {
      open("{}");
      const auto [width, height] = png_size(images[0].png);
      Json names = Json::array(), captions = Json::array();
      for (size_t i = 0; i < images.size(); ++i) {
        names.push_back(write_image(str(tag, "_", step_, "_", i, "_", hex_crc(images[i].png)), images[i].png));
        captions.push_back(images[i].caption);
      }
      WandbRow row;
      row.set({tag, "_type"}, "\"images/separated\"");
      row.set({tag, "width"}, std::to_string(width));
      row.set({tag, "height"}, std::to_string(height));
      row.set({tag, "format"}, "\"png\"");
      row.set({tag, "count"}, std::to_string(images.size()));
      row.set({tag, "filenames"}, json_text(names));
      row.set({tag, "captions"}, json_text(captions));
      add_to_row(std::move(row));
    });
  }

  void write_console(std::string_view text) override {
    const std::lock_guard lock(mutex_);
    if (!begun_ || ended_) return;
    constexpr int64_t kStandardOutput = 1;  // lines of the other kind are shown as errors
    ProtoMessage line;
    line.add_int(1, kStandardOutput).add_message(2, timestamp(Clock::now()));
    file_->add(kWandbOutputRaw, line.add_bytes(3, blot_secrets(std::string(text)) + "\n"));
  }

  void write_end(int exit_code) override {
    if (ended_) return;
    locked([&] {
      open("{}");
      end_row();
      ended_ = true;
      const auto runtime = static_cast<int64_t>(run_time());
      file_->add(kWandbExit, ProtoMessage().add_int(1, exit_code).add_int(2, runtime));
    });
    if (settings_.mode == WandbSettings::Mode::kOffline) {
      log_info(str("wandb: to upload this run: ", wandb_sync_commands(run_->parts_to_sync())));
    } else {
      sync_wandb_run(run_->parts_to_sync(), options_.sync_time_limit);
    }
  }

  /// Nothing is logged while the lock is held: a log sink may wait for it in write_console.
  template <class Work>
  void locked(const Work& work) {
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return;
      work();
    }
    for (const std::string& trouble : std::exchange(troubles_, {})) log_warning(trouble);
  }

  /// By the first use, so that a folder that cannot be made is a warning like any other.
  void open(const std::string& config) {
    if (begun_) return;
    if (!run_) {
      run_.emplace(settings_, options_.folder / "wandb-run.txt", options_.first_step, start_);
      troubles_ = run_->troubles();
      const WandbPast& past = run_->past();
      if (past.unwritten) {
        std::tie(step_, row_) = *past.unwritten;
      } else if (options_.first_step > 0) {
        step_ = past.last_step.value_or(options_.first_step) + 1;
      }
      earlier_runtime_ = past.runtime;
    }
    if (!file_) file_.emplace(run_->file());
    const ProtoMessage version = ProtoMessage().add_bytes(1, "lorikeet").add_bytes(2, "0.70.0");
    file_->add(kWandbHeader, ProtoMessage().add_message(1, version));
    file_->add(kWandbRun, run_record(config));
    begun_ = true;
  }

  ProtoMessage run_record(const std::string& config) const {
    ProtoMessage run, items;
    const Json options = Json::parse(config);
    for (const auto& [name, value] : options.items()) {
      items.add_message(1, ProtoMessage().add_bytes(1, name).add_bytes(16, json_text(value)));
    }
    const auto add = [&](int field, const std::string& text) {
      if (!text.empty()) run.add_bytes(field, text);
    };
    add(1, run_->id());
    add(2, settings_.entity);
    add(3, settings_.project);
    run.add_message(4, items);
    add(6, settings_.group);
    add(7, settings_.job_type);
    add(8, settings_.name);
    add(9, settings_.notes);
    for (const std::string& tag : settings_.tags) add(10, tag);
    char host[256] = "";
    ::gethostname(host, sizeof host - 1);
    add(13, host);
    return run.add_message(17, timestamp(start_)).add_int(20, static_cast<int64_t>(earlier_runtime_));
  }

  double run_time() const { return earlier_runtime_ + seconds(Clock::now() - start_); }

  /// Makes `step` the current one; false when a later one has begun.
  bool begin_row(int64_t step) {
    open("{}");
    if (step < step_) return false;
    if (step > step_) end_row();
    step_ = step;
    return true;
  }

  /// The values are in the file at once, as the summary; the row itself follows when it is complete.
  void add_to_row(WandbRow values) {
    values.set_number({"_timestamp"}, seconds(Clock::now().time_since_epoch()));
    values.set_number({"_runtime"}, run_time());
    file_->add(kWandbSummary, values.summary(step_));
    row_.merge(values);
  }

  void end_row() {
    if (row_.empty()) return;
    file_->add(kWandbHistory, row_.history(step_));
    row_ = {};
    ++step_;
  }

  /// Returns its path as the run's records name it.
  std::string write_image(const std::string& name, const std::string& png) {
    const std::string path = str("media/images/", file_name(name), ".png");
    const fs::path file = run_->folder() / "files" / path;
    fs::create_directories(file.parent_path());
    write_file_atomically(file, png);
    constexpr int64_t kMedia = 2;
    file_->add(kWandbFiles, ProtoMessage().add_message(1, ProtoMessage().add_bytes(1, path).add_int(3, kMedia)));
    return path;
  }

  WandbOptions options_;
  WandbSettings settings_;
  Clock::time_point start_;
  std::mutex mutex_;
  std::optional<WandbRun> run_;
  std::optional<WandbFile> file_;
  std::vector<std::string> troubles_;
  WandbRow row_;  // of step_, not written yet
  int64_t step_ = 0;
  double earlier_runtime_ = 0;
  bool begun_ = false, ended_ = false;
};

}  // namespace

std::unique_ptr<Tracker> make_wandb_tracker(WandbOptions options) {
  WandbSettings settings = read_wandb_settings(options.folder, options.project);
  if (settings.mode == WandbSettings::Mode::kDisabled) return std::make_unique<NoTracker>();
  return std::make_unique<WandbTracker>(std::move(options), std::move(settings));
}

}  // namespace lorikeet
