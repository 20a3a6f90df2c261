// Where the numbers and pictures of a run go while it trains.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lorikeet {

using Scalars = std::vector<std::pair<std::string, double>>;

struct TrackedImage {
  std::string png;  // encoded bytes
  std::string caption;
};

/// One place that keeps a log of the run. What goes wrong there (a full disk, a lost folder) never ends the run: it is
/// warned of once, and later calls are tried again.
class Tracker {
 public:
  /// `name` is for the warning: "TensorBoard".
  explicit Tracker(std::string name) : name_(std::move(name)) {}
  virtual ~Tracker() = default;
  Tracker(const Tracker&) = delete;
  Tracker& operator=(const Tracker&) = delete;

  /// All options of the run: one JSON object of names and values. At most once, before anything else.
  void log_config(const std::string& json);
  /// Values at an optimizer step.
  void log_scalars(const Scalars& values, int64_t step);
  /// Pictures under a tag ("validation", "test"); `step` is what the caller counts by.
  void log_images(const std::string& tag, const std::vector<TrackedImage>& images, int64_t step);
  /// Lines that the program showed, without the end of the last one. From any thread, and from within a log sink: what
  /// goes wrong here is not warned of.
  void log_console(std::string_view text) noexcept;
  /// The run is over, with the program's exit code; nothing is logged after it.
  void finish(int exit_code = 0);

 private:
  virtual void write_config(const std::string& json) = 0;
  virtual void write_scalars(const Scalars& values, int64_t step) = 0;
  virtual void write_images(const std::string& tag, const std::vector<TrackedImage>& images, int64_t step) = 0;
  virtual void write_console(std::string_view text) {}
  virtual void write_end(int exit_code) {}
  void guard(const std::function<void()>& write);

  std::string name_;
  bool warned_ = false;
};

}  // namespace lorikeet
