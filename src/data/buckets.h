// Aspect-ratio buckets: pictures of like shape are trained together at a size of about the same area, so that little is
// cut off them. Sizes and choices are those of kohya's scripts (make_buckets, select_bucket), which OneTrainer users
// know.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lorikeet {

struct PictureSize {
  int64_t width = 0, height = 0;  // pixels
  bool operator==(const PictureSize&) const = default;
};

struct BucketOptions {
  int64_t resolution = 512;  // a bucket has at most the area of a square of this side
  int64_t min_side = 256;    // of a bucket; not looked at with no_upscale
  int64_t max_side = 1024;   // the same
  int64_t step = 64;         // every side is a multiple of it; a multiple of 8, the latents' scale
  bool no_upscale = false;   // pictures are never enlarged: each gets the bucket of its own size, rounded down
};

/// Where a picture goes: it is resized to `scaled`, which covers the bucket with the picture's shape, then cut to it.
struct BucketFit {
  PictureSize bucket, scaled;
  bool operator==(const BucketFit&) const = default;
};

/// Throws UsageError, naming the flag: a step that is no positive multiple of 8, sides that are no multiples of it, a
/// resolution that is not between the two sides, or beyond 16384.
void check_buckets(const BucketOptions& options);

/// All buckets, by width, then height: the largest square of the step within the resolution, and for every width from
/// min_side to max_side the largest height that fits the area, both ways round. Throws as check_buckets.
std::vector<PictureSize> make_buckets(const BucketOptions& options);

/// Index of the bucket for a picture of this size: one of exactly this size, else that whose width / height differs
/// least from the picture's (the first of equals). `buckets` is not empty.
size_t assign_bucket(const std::vector<PictureSize>& buckets, PictureSize picture);

/// Bucket and target size of a picture. With options.no_upscale `buckets` is not looked at: a picture larger than the
/// area is made as large as that with its shape kept, and every side of the bucket is rounded down to a step. One with
/// a side below a step is enlarged after all, to one step. Sides of `picture` are at least 1.
BucketFit fit_bucket(const std::vector<PictureSize>& buckets, PictureSize picture, const BucketOptions& options);

}  // namespace lorikeet
