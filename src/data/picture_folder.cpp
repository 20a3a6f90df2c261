#include "data/picture_folder.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <fstream>
#include <map>
#include <mutex>
#include <thread>

#include "core/errors.h"
#include "core/text.h"
#include "engine/random.h"

namespace lorikeet {
namespace {

constexpr size_t kCacheBytes = size_t{1} << 30;
constexpr int64_t kMostThreads = 64;
constexpr int64_t kLongestSide = 1 << 18;  // pixels after resizing; a sliver stretched further is no training picture

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size() && i < 5; ++i) text += (i ? ", " : "") + names[i];
  if (names.size() > 5) text += str(" and ", names.size() - 5, " more");
  return text;
}

}  // namespace

bool looks_like_picture(const std::filesystem::path& file) {
  char head[12] = {};
  std::ifstream(file, std::ios::binary).read(head, sizeof head);
  return std::memcmp(head, "\xff\xd8\xff", 3) == 0 || std::memcmp(head, "\x89PNG\r\n\x1a\n", 8) == 0 ||
         (std::memcmp(head, "RIFF", 4) == 0 && std::memcmp(head + 8, "WEBP", 4) == 0);
}

PictureFolder::PictureFolder(const std::filesystem::path& folder, PictureTransform transform, int64_t limit)
    : transform_(transform) {
  if (transform.resolution > kLongestSide) {
    throw UsageError(str("--resolution is ", transform.resolution, ", expected at most ", kLongestSide), "try 512");
  }
  std::error_code error;
  std::vector<std::filesystem::path> entries;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    entries.push_back(it->path());
  }
  if (error) {
    throw FileError(str("cannot read the picture folder ", folder.string(), ": ", error.message()),
                    "give a folder with JPEG, PNG or WebP pictures directly in it");
  }
  std::sort(entries.begin(), entries.end());
  for (const auto& entry : entries) {
    if (std::filesystem::is_regular_file(entry, error) && looks_like_picture(entry)) {
      if (limit < 0 || size() < limit) files_.push_back(entry);
    } else {
      skipped_.push_back(entry.filename().string());
    }
  }
  if (files_.empty()) {
    throw FileError(str("there is no JPEG, PNG or WebP picture in ", folder.string(),
                        skipped_.empty() ? ", it is empty" : str(", only ", listed(skipped_))),
                    "put the pictures directly into this folder");
  }
  cache_.resize(files_.size());
}

void PictureFolder::preload(int64_t threads) {
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

const Image& PictureFolder::resized(int64_t index) {
  const auto& cached = cache_.at(static_cast<size_t>(index));
  if (cached.width > 0) return cached;
  if (index == scratch_index_) return scratch_;
  return keep(index, load(index));
}

Image PictureFolder::load(int64_t index) const {
  Image image = read_image(files_[static_cast<size_t>(index)]);
  // torchvision's Resize(int): the shorter side gets the resolution, the longer one keeps the ratio, rounded down.
  const int64_t shorter = std::min(image.width, image.height), longer = std::max(image.width, image.height);
  const auto side = static_cast<int>(transform_.resolution);
  const int64_t stretched = transform_.resolution * longer / shorter;
  if (stretched > kLongestSide) {
    throw FormatError(str(files_[static_cast<size_t>(index)].string(), " is ", image.width, " x ", image.height,
                          " pixels: with its shorter side resized to ", side, " its longer one would be ", stretched,
                          ", at most ", kLongestSide, " expected"),
                      "crop it, or take it out of the folder");
  }
  const auto other = static_cast<int>(stretched);
  const int width = image.width <= image.height ? side : other, height = image.width <= image.height ? other : side;
  if (image.width != width || image.height != height) {
    image = resize_image(image, width, height, transform_.interpolation);
  }
  return image;
}

const Image& PictureFolder::keep(int64_t index, Image image) {
  if (cached_bytes_ + image.pixels.size() <= kCacheBytes) {
    cached_bytes_ += image.pixels.size();
    return cache_[static_cast<size_t>(index)] = std::move(image);
  }
  scratch_ = std::move(image);
  scratch_index_ = index;
  return scratch_;
}

std::pair<int64_t, int64_t> PictureFolder::resized_size(int64_t index) {
  const Image& image = resized(index);
  return {image.height, image.width};
}

Crop PictureFolder::center_crop(int64_t index) {
  const auto [height, width] = resized_size(index);
  // Python's round() of an exact half goes to the even neighbour.
  const auto half = [](int64_t room) { return room % 2 == 0 ? room / 2 : (room / 2) + (room / 2) % 2; };
  return {half(height - transform_.resolution), half(width - transform_.resolution)};
}

Crop PictureFolder::random_crop(int64_t index, torch::Generator& generator) {
  const auto [height, width] = resized_size(index);
  const int64_t side = transform_.resolution;
  if (height == side && width == side) return {};
  const int64_t top = draw_integer(0, height - side + 1, generator);
  const int64_t left = draw_integer(0, width - side + 1, generator);
  return {top, left};
}

bool PictureFolder::holds(int64_t index, Crop crop) {
  const auto [height, width] = resized_size(index);
  return crop.top >= 0 && crop.left >= 0 && crop.top <= height - transform_.resolution &&
         crop.left <= width - transform_.resolution;
}

torch::Tensor PictureFolder::pixels(int64_t index, Crop crop) {
  const Image& image = resized(index);
  const int64_t side = transform_.resolution;
  auto bytes =
      torch::from_blob(const_cast<uint8_t*>(image.pixels.data()), {image.height, image.width, 3}, torch::kByte);
  auto square = bytes.slice(0, crop.top, crop.top + side).slice(1, crop.left, crop.left + side);
  return square.permute({2, 0, 1}).contiguous().to(torch::kFloat).div(255).sub_(0.5).div_(0.5);
}

}  // namespace lorikeet
