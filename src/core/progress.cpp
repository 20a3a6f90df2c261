#include "core/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace lorikeet {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr double kPlainLineSeconds = 10;
constexpr double kSmoothing = 0.3;  // weight of the newest measurement, as tqdm's

template <class... Args>
std::string format(const char* pattern, Args... args) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, pattern, args...);
  return buffer;
}

std::string clock_time(double seconds) {
  const auto whole = static_cast<long long>(seconds);
  const int minutes = static_cast<int>(whole / 60 % 60), rest = static_cast<int>(whole % 60);
  return whole >= 3600 ? format("%lld:%02d:%02d", whole / 3600, minutes, rest) : format("%02d:%02d", minutes, rest);
}

std::string rate_text(const ProgressState& state) {
  if (!state.rate || !(*state.rate > 0)) return "?" + state.unit + "/s";
  if (*state.rate < 1) return format("%5.2fs/", 1 / *state.rate) + state.unit;
  return format("%5.2f", *state.rate) + state.unit + "/s";
}

/// Code points, which is what most terminals give a column each.
size_t width_of(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string cut(std::string text, size_t columns) {
  size_t width = 0, end = 0;
  for (; end < text.size(); ++end) {
    if ((text[end] & 0xC0) != 0x80 && ++width > columns) break;
  }
  text.resize(end);
  return text;
}

std::string draw_bar(double fraction, size_t columns, bool ascii) {
  static constexpr const char* kEighths[] = {" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"};
  const auto eighths = static_cast<size_t>(std::clamp(fraction, 0.0, 1.0) * static_cast<double>(columns * 8));
  std::string bar;
  for (size_t i = 0; i < columns; ++i) {
    const size_t filled = eighths > i * 8 ? std::min<size_t>(eighths - i * 8, 8) : 0;
    if (ascii) {
      bar += filled == 8 ? '#' : ' ';
    } else {
      bar += kEighths[filled];
    }
  }
  return bar;
}

bool locale_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (!value || !*value) continue;
    const std::string_view locale = value;
    for (const char* spelling : {"UTF-8", "utf-8", "UTF8", "utf8"}) {
      if (locale.find(spelling) != std::string_view::npos) return true;
    }
    return false;
  }
  return false;
}

int terminal_columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

}  // namespace

std::string render_progress(const ProgressState& state, int columns, bool ascii) {
  const auto width = static_cast<size_t>(std::max(columns, 1));
  const std::string prefix = state.description.empty() ? "" : state.description + ": ";
  const std::string postfix = state.postfix.empty() ? "" : ", " + state.postfix;
  const std::string done = std::to_string(state.done), elapsed = clock_time(state.elapsed);
  if (state.total <= 0) {
    return cut(prefix + done + state.unit + " [" + elapsed + ", " + rate_text(state) + postfix + "]", width);
  }
  const double fraction = static_cast<double>(state.done) / static_cast<double>(state.total);
  const int64_t left = std::max<int64_t>(state.total - state.done, 0);
  const std::string remaining =
      state.rate && *state.rate > 0 ? clock_time(static_cast<double>(left) / *state.rate) : std::string("?");
  const std::string head = prefix + format("%3.0f%%|", fraction * 100);
  const std::string tail = "| " + done + "/" + std::to_string(state.total) + " [" + elapsed + "<" + remaining + ", " +
                           rate_text(state) + postfix + "]";
  const size_t used = width_of(head) + width_of(tail);
  const size_t bar = used < width ? width - used : 0;
  return cut(head + draw_bar(fraction, bar, ascii) + tail, width);
}

ProgressOutput ProgressOutput::standard_error() {
  ProgressOutput output;
  output.terminal = ::isatty(STDERR_FILENO) == 1;
  output.ascii = !locale_is_utf8();
  output.columns = terminal_columns;
  output.clock = [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  };
  output.write = [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  };
  return output;
}

ProgressBar::ProgressBar(std::string description, int64_t total, int64_t initial, ProgressOutput output,
                         std::string unit)
    : output_(std::move(output)) {
  state_.description = std::move(description);
  state_.unit = std::move(unit);
  state_.total = total;
  state_.done = measured_done_ = initial;
  started_ = measured_at_ = output_.clock();
  draw(started_);
}

ProgressBar::~ProgressBar() { finish(); }

void ProgressBar::update(int64_t done) {
  if (finished_) return;
  state_.done = done;
  const double now = output_.clock();
  if (now - drawn_at_ < (output_.terminal ? kRedrawSeconds : kPlainLineSeconds)) return;
  draw(now);
}

void ProgressBar::update(int64_t done, std::string postfix) {
  if (finished_) return;
  state_.postfix = std::move(postfix);
  update(done);
}

void ProgressBar::write_line(std::string_view line) {
  // "\033[K" clears what the bar left behind the shorter line.
  output_.write(output_.terminal && !finished_ ? "\r" + std::string(line) + "\033[K\n" : std::string(line) + "\n");
  if (output_.terminal && !finished_) draw(output_.clock());
}

void ProgressBar::finish() {
  if (finished_) return;
  if (output_.terminal || drawn_done_ != state_.done) draw(output_.clock());
  if (output_.terminal) output_.write("\n");
  finished_ = true;
}

void ProgressBar::measure(double now) {
  state_.elapsed = now - started_;
  const double seconds = now - measured_at_;
  const int64_t units = state_.done - measured_done_;
  if (units <= 0 || seconds <= 0) return;
  smooth_units_ = kSmoothing * static_cast<double>(units) + (1 - kSmoothing) * smooth_units_;
  smooth_seconds_ = kSmoothing * seconds + (1 - kSmoothing) * smooth_seconds_;
  state_.rate = smooth_units_ / smooth_seconds_;
  measured_at_ = now;
  measured_done_ = state_.done;
}

void ProgressBar::draw(double now) {
  measure(now);
  drawn_at_ = now;
  drawn_done_ = state_.done;
  const int columns = output_.terminal ? output_.columns() : 100;
  const std::string line = render_progress(state_, columns, output_.ascii);
  output_.write(output_.terminal ? "\r" + line + "\033[K" : line + "\n");
}

}  // namespace lorikeet
