#include "hub/small_files.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <thread>

#include "core/text.h"

namespace lorikeet {
namespace {

constexpr size_t kConnections = 8;
constexpr auto kLook = std::chrono::milliseconds(20);

/// Only the calling thread draws.
class SmallFiles {
 public:
  SmallFiles(const HubClient& client, const HubRepo& repo, const std::string& commit,
             const std::vector<RepoFile>& files, const DownloadOptions& options)
      : client_(client), repo_(repo), commit_(commit), files_(files), options_(options) {}

  void run() {
    DownloadState state{str(files_.size(), " files"), 0, 0};
    for (const auto& file : files_) state.total += file.size;
    const size_t count = std::min(files_.size(), kConnections);
    running_ = static_cast<int>(count);
    {
      std::vector<std::jthread> workers;
      const End on_leaving{ending_};  // before the workers are waited for
      for (size_t i = 0; i < count; ++i) workers.emplace_back([this] { work(); });
      while (running_ > 0) {
        std::this_thread::sleep_for(kLook);
        state.done = std::min<int64_t>(done_, state.total - 1);
        tell_download(state);
      }
    }
    if (error_) std::rethrow_exception(error_);
    state.done = state.total;
    tell_download(state);
  }

 private:
  struct End {
    std::atomic<bool>& flag;
    ~End() { flag = true; }
  };

  void work() {
    try {
      auto client = HubClient::for_downloads(client_.token());
      for (size_t i = next_++; i < files_.size() && !ending_; i = next_++) {
        auto options = options_;
        options.is_watched = false;
        int64_t before = 0;
        options.fetch.progress = [&](int64_t done) {
          done_ += done - before;
          before = done;
        };
        download_file(client, repo_, commit_, files_[i].path, options);
        done_ += files_[i].size - before;  // what was there already
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      ending_ = true;
    }
    --running_;
  }

  const HubClient& client_;
  const HubRepo& repo_;
  const std::string& commit_;
  const std::vector<RepoFile>& files_;
  const DownloadOptions& options_;
  std::atomic<size_t> next_ = 0;
  std::atomic<int> running_ = 0;
  std::atomic<int64_t> done_ = 0;  // bytes
  std::atomic<bool> ending_ = false;
  std::mutex mutex_;  // guards what follows
  std::exception_ptr error_;
};

}  // namespace

void download_small_files(const HubClient& client, const HubRepo& repo, const std::string& commit,
                          const std::vector<RepoFile>& files, const DownloadOptions& options) {
  SmallFiles(client, repo, commit, files, options).run();
}

}  // namespace lorikeet
