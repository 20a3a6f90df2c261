#include "data/buckets.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

constexpr int64_t kLargestSide = 16384;
constexpr int64_t kLatentScale = 8;

int64_t rounded(double value) { return static_cast<int64_t>(value + 0.5); }
int64_t down_to(int64_t value, int64_t step) { return value - value % step; }
double shape_of(PictureSize size) { return static_cast<double>(size.width) / static_cast<double>(size.height); }

/// The picture resized with its shape kept so that it just covers the bucket.
BucketFit cover(PictureSize bucket, PictureSize picture) {
  const double by_width = static_cast<double>(bucket.width) / static_cast<double>(picture.width);
  const double by_height = static_cast<double>(bucket.height) / static_cast<double>(picture.height);
  const double scale = shape_of(picture) > shape_of(bucket) ? by_height : by_width;
  return {bucket,
          {std::max(bucket.width, rounded(static_cast<double>(picture.width) * scale)),
           std::max(bucket.height, rounded(static_cast<double>(picture.height) * scale))}};
}

/// The size of about the area `most` with the picture's shape, one of its sides a multiple of the step: of the two ways
/// to round, by width or by height, the one whose bucket keeps the shape better.
PictureSize shrunk(PictureSize picture, int64_t most, int64_t step) {
  const double shape = shape_of(picture);
  const double width = std::sqrt(static_cast<double>(most) * shape), height = static_cast<double>(most) / width;
  const int64_t stepped_width = down_to(rounded(width), step), stepped_height = down_to(rounded(height), step);
  const int64_t its_height = down_to(rounded(static_cast<double>(stepped_width) / shape), step);
  const int64_t its_width = down_to(rounded(static_cast<double>(stepped_height) * shape), step);
  const bool by_width_works = stepped_width > 0 && its_height > 0,
             by_height_works = stepped_height > 0 && its_width > 0;
  const double width_error = by_width_works ? std::abs(shape_of({stepped_width, its_height}) - shape) : 0;
  const double height_error = by_height_works ? std::abs(shape_of({its_width, stepped_height}) - shape) : 0;
  if (by_width_works && (!by_height_works || width_error < height_error)) {
    return {stepped_width, rounded(static_cast<double>(stepped_width) / shape)};
  }
  if (by_height_works) return {rounded(static_cast<double>(stepped_height) * shape), stepped_height};
  return {rounded(width), rounded(height)};
}

BucketFit fit_without_enlarging(PictureSize picture, const BucketOptions& options) {
  const int64_t most = options.resolution * options.resolution;
  const bool too_large = picture.height > most / picture.width || picture.width * picture.height > most;
  const PictureSize size = too_large ? shrunk(picture, most, options.step) : picture;
  PictureSize bucket{std::max(options.step, down_to(size.width, options.step)),
                     std::max(options.step, down_to(size.height, options.step))};
  // A sliver, made one step wide, may be no longer than the area allows.
  bucket.width = std::min(bucket.width, std::max(options.step, down_to(most / bucket.height, options.step)));
  bucket.height = std::min(bucket.height, std::max(options.step, down_to(most / bucket.width, options.step)));
  if (bucket.width > size.width || bucket.height > size.height) return cover(bucket, picture);
  return {bucket, size};
}

}  // namespace

void check_buckets(const BucketOptions& options) {
  const auto refuse = [](const std::string& message, const char* hint) { throw UsageError(message, hint); };
  if (options.step <= 0 || options.step % kLatentScale != 0 || options.step > kLargestSide) {
    refuse(str("--bucket_reso_steps=", options.step, ": expected a positive multiple of ", kLatentScale), "try 64");
  }
  if (options.resolution < options.step || options.resolution > kLargestSide) {
    refuse(str("--resolution=", options.resolution, ": expected ", options.step, " (--bucket_reso_steps) to ",
               kLargestSide),
           "try 512");
  }
  if (options.no_upscale) return;
  if (options.min_side <= 0 || options.min_side % options.step != 0 || options.min_side > options.resolution) {
    refuse(str("--min_bucket_reso=", options.min_side, ": expected a multiple of ", options.step,
               " (--bucket_reso_steps), at most the resolution, ", options.resolution),
           "try 256");
  }
  if (options.max_side % options.step != 0 || options.max_side < options.resolution ||
      options.max_side > kLargestSide) {
    refuse(str("--max_bucket_reso=", options.max_side, ": expected a multiple of ", options.step,
               " (--bucket_reso_steps), from the resolution, ", options.resolution, ", to ", kLargestSide),
           "try 1024");
  }
}

std::vector<PictureSize> make_buckets(const BucketOptions& options) {
  check_buckets(options);
  const int64_t most = options.resolution * options.resolution;
  std::set<std::pair<int64_t, int64_t>> found;
  const int64_t square = down_to(options.resolution, options.step);
  found.emplace(square, square);
  for (int64_t width = options.min_side; width <= options.max_side; width += options.step) {
    const int64_t height = std::min(options.max_side, down_to(most / width, options.step));
    if (height < options.min_side) continue;
    found.emplace(width, height);
    found.emplace(height, width);
  }
  std::vector<PictureSize> buckets;
  for (const auto& [width, height] : found) buckets.push_back({width, height});
  return buckets;
}

size_t assign_bucket(const std::vector<PictureSize>& buckets, PictureSize picture) {
  const auto same = std::find(buckets.begin(), buckets.end(), picture);
  if (same != buckets.end()) return static_cast<size_t>(same - buckets.begin());
  const auto error = [&](PictureSize bucket) { return std::abs(shape_of(bucket) - shape_of(picture)); };
  const auto nearest = std::min_element(buckets.begin(), buckets.end(),
                                        [&](PictureSize a, PictureSize b) { return error(a) < error(b); });
  return static_cast<size_t>(nearest - buckets.begin());
}

BucketFit fit_bucket(const std::vector<PictureSize>& buckets, PictureSize picture, const BucketOptions& options) {
  if (options.no_upscale) return fit_without_enlarging(picture, options);
  return cover(buckets.at(assign_bucket(buckets, picture)), picture);
}

}  // namespace lorikeet
