#include "data/picture_set.h"

#include <algorithm>
#include <atomic>

#include "core/errors.h"
#include "core/text.h"
#include "data/picture_bytes.h"
#include "engine/random.h"

namespace lorikeet {
namespace {

constexpr size_t kCacheBytes = size_t{1} << 30;
constexpr int64_t kMostThreads = 64;
constexpr size_t kMostAhead = 64;          // pictures decoded and not yet asked for
constexpr int64_t kLongestSide = 1 << 18;  // pixels after resizing; a sliver stretched further is no training picture

bool is_empty(const Image& image) { return image.width == 0; }

}  // namespace

PictureSet::PictureSet(std::vector<PictureRecord> records, PictureTransform transform)
    : records_(std::move(records)), transform_(transform), cache_(records_.size()), extents_(records_.size()) {
  if (transform.resolution > kLongestSide) {
    throw UsageError(str("--resolution is ", transform.resolution, ", expected at most ", kLongestSide), "try 512");
  }
}

PictureSet::~PictureSet() { end_threads(); }

void PictureSet::end_threads() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  for (auto& thread : threads_) thread.join();
  threads_.clear();
  ending_ = false;
}

void PictureSet::let_go() {
  end_threads();
  wanted_.clear();
  ahead_.clear();
  cache_.assign(records_.size(), {});
  cached_bytes_ = 0;
  scratch_ = {};
  scratch_index_ = -1;
}

std::vector<int64_t> PictureSet::trained_on() const {
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < size(); ++i) {
    if (record(i).repeats > 0) indices.push_back(i);
  }
  return indices;
}

PictureExtent PictureSet::target(int64_t index) const {
  if (!fits_.empty()) return fits_.at(static_cast<size_t>(index)).cut;
  return {transform_.resolution, transform_.resolution};
}

void PictureSet::preload(int64_t threads) {
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::map<int64_t, std::exception_ptr> failures;
  const auto work = [&] {
    for (int64_t i = next++; i < size(); i = next++) {
      try {
        Image image = load(i);
        std::lock_guard lock(mutex);
        keep(i, std::move(image));
      } catch (...) {
        std::lock_guard lock(mutex);
        failures.emplace(i, std::current_exception());
      }
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (int64_t i = 1; i < std::min({threads, size(), kMostThreads}); ++i) helpers.emplace_back(work);
    work();
  }
  if (!failures.empty()) std::rethrow_exception(failures.begin()->second);  // the first by name, whoever met it
}

void PictureSet::start_ahead(int64_t threads) {
  while (static_cast<int64_t>(threads_.size()) < std::min(threads, kMostThreads)) {
    threads_.emplace_back([this] { work_ahead(); });
  }
}

void PictureSet::announce(const std::vector<int64_t>& indices) {
  if (threads_.empty()) return;
  {
    std::lock_guard lock(mutex_);
    const std::set<int64_t> now(indices.begin(), indices.end());
    std::erase_if(ahead_, [&](const auto& ready) {
      if (now.contains(ready.first)) return false;
      in_vain_.insert(ready.first);
      return true;
    });
    wanted_.clear();
    for (const int64_t index : indices) {
      const bool is_kept = !is_empty(cache_[static_cast<size_t>(index)]);
      if (is_kept || ahead_.contains(index) || under_way_.contains(index) || in_vain_.contains(index)) continue;
      if (std::find(wanted_.begin(), wanted_.end(), index) == wanted_.end()) wanted_.push_back(index);
    }
  }
  changed_.notify_all();
}

void PictureSet::work_ahead() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock,
                  [&] { return ending_ || (!wanted_.empty() && ahead_.size() + under_way_.size() < kMostAhead); });
    if (ending_) return;
    const int64_t index = wanted_.front();
    wanted_.pop_front();
    under_way_.insert(index);
    lock.unlock();
    Image image;
    std::exception_ptr failure;
    try {
      image = load(index);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    under_way_.erase(index);
    if (failure) {
      failures_[index] = failure;
    } else {
      ahead_[index] = std::move(image);
    }
    changed_.notify_all();
  }
}

/// What the threads have made, or are making, of a picture; without them it is made here.
Image PictureSet::take_or_load(int64_t index) {
  if (threads_.empty()) return load(index);
  std::unique_lock lock(mutex_);
  std::erase(wanted_, index);  // not begun: this thread is as good as another
  changed_.wait(lock, [&] { return !under_way_.contains(index); });
  if (const auto failed = failures_.find(index); failed != failures_.end()) {
    std::rethrow_exception(failed->second);
  }
  if (const auto ready = ahead_.find(index); ready != ahead_.end()) {
    Image image = std::move(ready->second);
    ahead_.erase(ready);
    lock.unlock();
    changed_.notify_all();
    return image;
  }
  lock.unlock();
  return load(index);
}

const Image& PictureSet::resized(int64_t index) {
  const auto& cached = cache_.at(static_cast<size_t>(index));
  if (!is_empty(cached)) return cached;
  if (index == scratch_index_) return scratch_;
  return keep(index, take_or_load(index));
}

PictureExtent PictureSet::resized_extent_of(int64_t index, int64_t width, int64_t height) const {
  if (!fits_.empty()) return fits_.at(static_cast<size_t>(index)).scaled;
  // torchvision's Resize(int): the shorter side gets the resolution, the longer one keeps the ratio, rounded down.
  const int64_t shorter = std::min(width, height), longer = std::max(width, height);
  const int64_t stretched = transform_.resolution * longer / shorter;
  return width <= height ? PictureExtent{stretched, transform_.resolution}
                         : PictureExtent{transform_.resolution, stretched};
}

Image PictureSet::resize(int64_t index, Image image) const {
  const auto [height, width] = resized_extent_of(index, image.width, image.height);
  if (std::max(height, width) > kLongestSide) {
    throw FormatError(
        str(record(index).file.string(), " is ", image.width, " x ", image.height,
            " pixels: with its shorter side resized to ", std::min(height, width), " its longer one would be ",
            std::max(height, width), ", at most ", kLongestSide, " expected"),
        "crop it, or take it out of the folder");
  }
  if (image.width == width && image.height == height) return image;
  return resize_image(image, static_cast<int>(width), static_cast<int>(height), transform_.interpolation);
}

Image PictureSet::load(int64_t index) const {
  const auto& record = this->record(index);
  const bool is_file = record.bytes < 0;
  return resize(index, decode_image(read_picture_bytes(record), is_file ? record.file.string() : record.name));
}

const Image& PictureSet::keep(int64_t index, Image image) {
  extents_[static_cast<size_t>(index)] = {image.height, image.width};
  if (cached_bytes_ + image.pixels.size() <= kCacheBytes) {
    cached_bytes_ += image.pixels.size();
    const std::lock_guard lock(mutex_);  // `announce` looks which ones are kept
    return cache_[static_cast<size_t>(index)] = std::move(image);
  }
  scratch_ = std::move(image);
  scratch_index_ = index;
  return scratch_;
}

PictureExtent PictureSet::resized_extent(int64_t index) {
  const auto& known = record(index);
  if (known.width > 0 && known.height > 0) return resized_extent_of(index, known.width, known.height);
  if (const auto& seen = extents_.at(static_cast<size_t>(index)); seen.height > 0) return seen;
  const Image& image = resized(index);
  return {image.height, image.width};
}

Crop PictureSet::center_crop(int64_t index) {
  const auto [height, width] = resized_extent(index);
  const auto [high, wide] = target(index);
  // Python's round() of an exact half goes to the even neighbour.
  const auto half = [](int64_t room) { return room % 2 == 0 ? room / 2 : (room / 2) + (room / 2) % 2; };
  return {half(height - high), half(width - wide)};
}

Crop PictureSet::random_crop(int64_t index, torch::Generator& generator) {
  const auto extent = resized_extent(index), cut = target(index);
  if (extent == cut) return {};
  const int64_t top = draw_integer(0, extent.height - cut.height + 1, generator);
  const int64_t left = draw_integer(0, extent.width - cut.width + 1, generator);
  return {top, left};
}

bool PictureSet::holds(int64_t index, Crop crop) {
  const auto extent = resized_extent(index), cut = target(index);
  return crop.top >= 0 && crop.left >= 0 && crop.top <= extent.height - cut.height &&
         crop.left <= extent.width - cut.width;
}

}  // namespace lorikeet
