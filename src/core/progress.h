// Progress bars on standard error, in the look people know from tqdm.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace lorikeet {

/// What one line of progress tells.
struct ProgressState {
  std::string description;  // "Steps"; may be empty
  int64_t done = 0;
  int64_t total = 0;           // 0: not known
  double elapsed = 0;          // seconds
  std::optional<double> rate;  // units per second; unset while nothing has been measured
  std::string postfix;         // "loss=0.123, lr=0.0001"
  std::string unit = "it";
};

/// One line, at most `columns` wide: "Steps:  50%|█████     | 5/10 [00:05<00:05,  1.00it/s, loss=0.123]".
/// Below one unit per second the rate is given as seconds per unit. `ascii` draws the bar with '#'.
std::string render_progress(const ProgressState& state, int columns, bool ascii = false);

/// Where a bar draws; the parts are replaceable so that tests need no terminal and no waiting.
struct ProgressOutput {
  bool terminal = false;
  bool ascii = false;
  std::function<int()> columns;
  std::function<double()> clock;  // seconds, monotonic
  std::function<void(std::string_view)> write;

  /// Standard error, the terminal's width, and blocks instead of '#' where the locale is UTF-8.
  static ProgressOutput standard_error();
};

/// A bar its owner moves on. On a terminal it is redrawn in place, at most ten times a second; elsewhere a plain line
/// appears when it starts, when it ends, and at most every ten seconds in between.
class ProgressBar {
 public:
  /// `initial` units were done before (a resumed run): they count for the bar, not for the rate.
  ProgressBar(std::string description, int64_t total, int64_t initial = 0,
              ProgressOutput output = ProgressOutput::standard_error(), std::string unit = "it");
  /// Leaves the last state on the screen.
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// `done` units in all.
  void update(int64_t done);
  void update(int64_t done, std::string postfix);
  /// A line of text that must not be torn by the bar: it goes above.
  void write_line(std::string_view line);
  /// Draws the last state and ends the line; what comes after is ignored.
  void finish();

 private:
  void draw(double now);
  void measure(double now);

  ProgressOutput output_;
  ProgressState state_;
  double started_ = 0, drawn_at_ = 0, measured_at_ = 0;
  int64_t drawn_done_ = -1;  // what the last line showed
  int64_t measured_done_ = 0;
  double smooth_units_ = 0, smooth_seconds_ = 0;
  bool finished_ = false;
};

}  // namespace lorikeet
