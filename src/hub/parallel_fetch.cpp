#include "hub/parallel_fetch.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "core/errors.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/range_fetch.h"

namespace lorikeet {
namespace {

constexpr size_t kBlock = 1 << 20;
constexpr auto kLook = std::chrono::milliseconds(10);

/// The parts are taken in order, so that the file becomes whole from its beginning. Only the calling thread logs and
/// draws: what a worker has to say is kept for it.
class ParallelFetch {
 public:
  ParallelFetch(const RemoteFile& file, const HttpRequest& request, NewFile& out, const FetchOptions& options)
      : file_(file),
        request_(request),
        out_(out),
        options_(options),
        done_(static_cast<size_t>((*file.size + options.part - 1) / options.part)) {
    request_.cancelled = &cancelled_;
  }

  void run(const std::function<void(std::string_view)>& in_order) {
    const size_t count = std::min(done_.size(), static_cast<size_t>(options_.connections));
    running_ = static_cast<int>(count);
    {
      std::vector<std::jthread> workers;
      const Cancel on_leaving{cancelled_};  // before the workers are waited for
      for (size_t i = 0; i < count; ++i) workers.emplace_back([this] { work(); });
      while (follow(in_order)) std::this_thread::sleep_for(kLook);
    }
    if (error_) std::rethrow_exception(error_);
  }

 private:
  struct Cancel {
    std::atomic<bool>& flag;
    ~Cancel() { flag = true; }
  };

  void work() {
    try {
      HttpClient http;
      for (size_t part = next_++; part < done_.size() && !cancelled_; part = next_++) fetch_part(http, part);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      cancelled_ = true;
    }
    --running_;
  }

  void fetch_part(HttpClient& http, size_t part) {
    const int64_t start = static_cast<int64_t>(part) * options_.part;
    const ByteRange range{start, std::min(start + options_.part, *file_.size), /*is_whole=*/false};
    RangeCallbacks callbacks;
    callbacks.send = [&](const HttpRequest& request) { return http.send(request); };
    callbacks.take = [&](int64_t offset, std::string_view bytes) {
      out_.write(offset, bytes);
      done_[part] += static_cast<int64_t>(bytes.size());
    };
    callbacks.wait = [&](const std::string& why, double seconds) { wait(why, seconds); };
    fetch_range(file_, request_, range, callbacks, options_.retry);
  }

  void wait(const std::string& why, double seconds) {
    {
      const std::lock_guard lock(mutex_);
      notes_.push_back(why + "; trying again");
    }
    for (; seconds > 0; seconds -= 0.1) {
      if (cancelled_) throw Interrupted("stopped");
      wait_for_retry(std::min(seconds, 0.1));
    }
  }

  /// Bytes from the beginning that are all there.
  int64_t whole_bytes() {
    int64_t bytes = 0;
    for (size_t part = 0; part < done_.size(); ++part) {
      bytes += done_[part];
      if (done_[part] < options_.part) break;
    }
    return bytes;
  }

  /// Tells, shows and hands on what has come. False when there is no more to come.
  bool follow(const std::function<void(std::string_view)>& in_order) {
    const bool ended = running_ == 0;
    std::vector<std::string> notes;
    {
      const std::lock_guard lock(mutex_);
      notes.swap(notes_);
    }
    for (const auto& note : notes) log_warning(note);
    std::string block;
    for (const int64_t whole = whole_bytes(); followed_ < whole && !cancelled_;) {
      block.resize(static_cast<size_t>(std::min<int64_t>(whole - followed_, kBlock)));
      out_.read(followed_, block.data(), block.size());
      in_order(block);
      followed_ += static_cast<int64_t>(block.size());
      show();
    }
    show();
    stop_if_requested();
    return !ended;
  }

  void show() {
    if (!options_.progress) return;
    int64_t bytes = 0;
    for (const auto& part : done_) bytes += part;
    options_.progress(bytes);
  }

  const RemoteFile& file_;
  HttpRequest request_;
  NewFile& out_;
  const FetchOptions& options_;
  std::vector<std::atomic<int64_t>> done_;  // bytes of each part
  std::atomic<size_t> next_{0};
  std::atomic<int> running_{0};
  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;
  std::exception_ptr error_;
  std::vector<std::string> notes_;
  int64_t followed_ = 0;
};

}  // namespace

void fetch_in_parts(const RemoteFile& file, const HttpRequest& request, NewFile& out, const FetchOptions& options,
                    const std::function<void(std::string_view)>& in_order) {
  ParallelFetch(file, request, out, options).run(in_order);
}

}  // namespace lorikeet
