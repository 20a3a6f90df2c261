#include "data/preflight.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <string_view>
#include <thread>
#include <unordered_set>

#include "core/digest.h"
#include "core/errors.h"
#include "core/text.h"
#include "data/caption_text.h"
#include "data/duplicates.h"
#include "data/picture_bytes.h"
#include "io/image_size.h"

namespace lorikeet {
namespace {

constexpr int64_t kMostThreads = 64;

/// Why a picture, or its mask, cannot be used; empty for good ones.
struct Look {
  std::string picture, mask;
};

/// One look at every picture, on several threads.
class Measurement {
 public:
  Measurement(std::vector<PictureRecord>& records, const PreflightOptions& options,
              const std::function<void(int64_t, int64_t)>& progress)
      : records_(records), options_(options), progress_(progress), looks_(records.size()) {}

  const std::vector<Look>& run() {
    {
      std::vector<std::jthread> helpers;
      const auto total = static_cast<int64_t>(records_.size());
      for (int64_t i = 1; i < std::min({options_.threads, total, kMostThreads}); ++i)
        helpers.emplace_back([&] { work(); });
      work();
    }
    if (failure_) std::rethrow_exception(failure_);
    return looks_;
  }

 private:
  /// Never throws: an exception that left a helper's thread would end the program.
  void work() noexcept {
    try {
      for (size_t i = next_++; i < records_.size() && !over_; i = next_++) {
        looks_[i] = look_at(records_[i]);
        const std::lock_guard lock(mutex_);
        if (progress_) progress_(++done_, static_cast<int64_t>(records_.size()));
        if (options_.stop && options_.stop()) over_ = true;
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
      over_ = true;
    }
  }

  Look look_at(PictureRecord& record) const {
    Look look;
    record.width = record.height = 0;
    try {
      const ImageSize size = read_image_size(record.file, record.offset, record.bytes, record.name);
      if (options_.full_decode) {
        const std::string bytes = read_picture_bytes(record);
        decode_image(bytes, record.name);
        record.sha256 = sha256_hex(bytes);
      }
      record.width = size.width;
      record.height = size.height;
      if (!record.mask.empty()) look.mask = look_at_mask(record, size);
    } catch (const Error& error) {
      look.picture = error.what();
    }
    return look;
  }

  std::string look_at_mask(const PictureRecord& record, const ImageSize& picture) const {
    try {
      const ImageSize size = read_image_size(record.mask);
      if (options_.full_decode) read_image(record.mask);
      if (size == picture) return "";
      return str(record.mask.filename().string(), " is ", size.width, " x ", size.height, ", ", record.name, " is ",
                 picture.width, " x ", picture.height);
    } catch (const Error& error) {
      return error.what();
    }
  }

  std::vector<PictureRecord>& records_;
  const PreflightOptions& options_;
  const std::function<void(int64_t, int64_t)>& progress_;
  std::vector<Look> looks_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> over_{false};
  std::mutex mutex_;
  int64_t done_ = 0;
  std::exception_ptr failure_;
};

void note_size(const PictureRecord& record, const PreflightOptions& options, PreflightReport& report) {
  const int64_t shorter = std::min(record.width, record.height), longer = std::max(record.width, record.height);
  const std::string name = str(record.name, " (", record.width, " x ", record.height, ")");
  if (shorter < options.resolution) report.too_small.add(name);
  if (static_cast<double>(longer) >= options.extreme_shape * static_cast<double>(shorter))
    report.extreme_shapes.add(name);
  const int64_t area = record.width * record.height;
  if (report.measured == 0 || area < report.smallest_width * report.smallest_height) {
    report.smallest_width = record.width;
    report.smallest_height = record.height;
  }
  if (area > report.largest_width * report.largest_height) {
    report.largest_width = record.width;
    report.largest_height = record.height;
  }
  ++report.measured;
}

void note_caption(const std::string& caption, const PictureRecord& record, const PreflightOptions& options,
                  CaptionStatistics& statistics) {
  // Bytes of text that is not UTF-8, which no reader of data sets lets through.
  const int64_t counted = count_characters(caption);
  const int64_t characters = counted < 0 ? static_cast<int64_t>(caption.size()) : counted;
  statistics.shortest = statistics.distinct == 0 ? characters : std::min(statistics.shortest, characters);
  statistics.longest = std::max(statistics.longest, characters);
  ++statistics.distinct;
  if (!options.count_tokens) return;
  const int64_t tokens = options.count_tokens(caption);
  if (tokens > options.most_tokens) statistics.cut_off.add(str(record.name, ": ", tokens, " tokens"));
}

/// False when asked to stop.
bool note_captions(const std::vector<PictureRecord>& records, const PreflightOptions& options,
                   CaptionStatistics& statistics) {
  std::unordered_set<std::string_view> seen;
  for (const auto& record : records) {
    if (options.stop && options.stop()) return false;
    for (const auto& caption : record.captions) {
      ++statistics.count;
      statistics.empty += caption.find_first_not_of(" \t\r\n") == std::string::npos;
      if (seen.insert(caption).second) note_caption(caption, record, options, statistics);
    }
  }
  return true;
}

}  // namespace

PreflightReport check_pictures(std::vector<PictureRecord>& records, const PreflightOptions& options,
                               const std::function<void(int64_t done, int64_t total)>& progress) {
  PreflightReport report;
  report.most_tokens = options.most_tokens;
  report.resolution = options.resolution;
  report.decoded = options.full_decode;
  report.counted_tokens = static_cast<bool>(options.count_tokens);
  report.pictures = static_cast<int64_t>(records.size());
  Measurement measurement(records, options, progress);
  const auto& looks = measurement.run();
  for (size_t i = 0; i < records.size(); ++i) {
    report.per_epoch += records[i].repeats;
    report.masks += !records[i].mask.empty();
    if (!looks[i].picture.empty()) report.unreadable.add(looks[i].picture);
    if (!looks[i].mask.empty()) report.bad_masks.add(looks[i].mask);
    if (records[i].width > 0) note_size(records[i], options, report);
  }
  const bool complete = note_captions(records, options, report.captions);
  if (complete && options.find_duplicates) {
    for (const auto& [later, first] : find_duplicates(records, options.stop)) {
      report.duplicates.add(records[later].name + " = " + records[first].name);
    }
  }
  report.stopped = options.stop && options.stop();
  return report;
}

}  // namespace lorikeet
