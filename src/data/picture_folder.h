// A folder of training pictures: found in sorted order, decoded once, resized once.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "io/image.h"

namespace lorikeet {

/// How pictures become training pixels.
struct PictureTransform {
  int64_t resolution = 512;  // pixels; the shorter side is resized to it, then a square of it is cut out
  Interpolation interpolation = Interpolation::kLanczos;
};

/// Top left corner of a square cut, in pixels of the resized picture.
struct Crop {
  int64_t top = 0, left = 0;
  bool operator==(const Crop&) const = default;
};

/// The pictures of one folder. Resized pictures stay in memory up to a bound, later ones are decoded again.
class PictureFolder {
 public:
  /// Takes every JPEG, PNG and WebP file directly in `folder`, sorted by name, told by their first bytes; folders and
  /// other files are passed over and listed in skipped(). At most `limit` pictures when it is not negative.
  /// Throws FileError when there is no such folder, or no picture in it (naming what is there instead), UsageError for
  /// a resolution beyond 262144.
  PictureFolder(const std::filesystem::path& folder, PictureTransform transform, int64_t limit = -1);

  int64_t size() const { return static_cast<int64_t>(files_.size()); }
  const std::vector<std::filesystem::path>& files() const { return files_; }
  /// Names of the entries that are no pictures.
  const std::vector<std::string>& skipped() const { return skipped_; }

  /// Decodes all pictures now, on so many threads, so that a damaged one is found before the training starts.
  /// Throws FormatError naming the file.
  void preload(int64_t threads = 1);

  /// Height and width of picture `index` after resizing.
  std::pair<int64_t, int64_t> resized_size(int64_t index);
  Crop center_crop(int64_t index);
  /// Drawn as torchvision's RandomCrop draws it: nothing when the picture is the square already, else two integers.
  Crop random_crop(int64_t index, torch::Generator& generator);

  /// Whether the cut lies within the resized picture.
  bool holds(int64_t index, Crop crop);
  /// The cut as a float tensor [3, resolution, resolution] in [-1, 1].
  torch::Tensor pixels(int64_t index, Crop crop);

 private:
  const Image& resized(int64_t index);
  Image load(int64_t index) const;
  const Image& keep(int64_t index, Image image);

  PictureTransform transform_;
  std::vector<std::filesystem::path> files_;
  std::vector<std::string> skipped_;
  std::vector<Image> cache_;  // empty pictures are not decoded yet
  Image scratch_;             // the last one that was not kept
  int64_t scratch_index_ = -1;
  size_t cached_bytes_ = 0;
};

/// Whether these first bytes of a file are a JPEG's, PNG's or WebP's.
bool looks_like_picture(const std::filesystem::path& file);

}  // namespace lorikeet
