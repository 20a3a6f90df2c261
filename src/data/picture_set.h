// Training pictures: decoded once or ahead of need, resized once, cut anew each time.
#pragma once

#include <torch/types.h>

#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "data/picture_record.h"
#include "io/image.h"

namespace lorikeet {

/// How pictures become training pixels.
struct PictureTransform {
  int64_t resolution = 512;  // pixels; the shorter side is resized to it, then a square of it is cut out
  Interpolation interpolation = Interpolation::kLanczos;
};

/// Height and width in pixels.
struct PictureExtent {
  int64_t height = 0, width = 0;
  bool operator==(const PictureExtent&) const = default;
};

/// Top left corner of the part that is cut out, in pixels of the resized picture.
struct Crop {
  int64_t top = 0, left = 0;
  bool operator==(const Crop&) const = default;
};

/// Resized pictures stay in memory up to a bound, later ones are decoded again. Not for several threads at once; its
/// own threads, once started, decode what is announced.
class PictureSet {
 public:
  /// Throws UsageError for a resolution beyond 262144.
  PictureSet(std::vector<PictureRecord> records, PictureTransform transform);
  ~PictureSet();
  PictureSet(const PictureSet&) = delete;
  PictureSet& operator=(const PictureSet&) = delete;

  int64_t size() const { return static_cast<int64_t>(records_.size()); }
  const PictureRecord& record(int64_t index) const { return records_.at(static_cast<size_t>(index)); }
  const std::vector<PictureRecord>& records() const { return records_; }

  /// The picture is not trained on: its record counts no times in an epoch.
  void hold_out(int64_t index) { records_.at(static_cast<size_t>(index)).repeats = 0; }
  /// The pictures that are trained on, in order.
  std::vector<int64_t> trained_on() const;

  /// Buckets: what each picture is resized to, and cut to, in place of the square.
  struct Fit {
    PictureExtent scaled, cut;
  };
  void set_fits(std::vector<Fit> fits) { fits_ = std::move(fits); }
  /// What is cut out of picture `index`.
  PictureExtent target(int64_t index) const;

  /// Decodes all pictures now, on so many threads, so that a damaged one is found before the training starts.
  /// Throws FormatError naming the file.
  void preload(int64_t threads = 1);
  /// From now on `announce` has these pictures decoded in the background, by so many threads, in this order; what was
  /// announced before and is not among them is given up. A picture that was decoded so and never asked for is not
  /// decoded ahead again: what is made of it is remembered elsewhere.
  void start_ahead(int64_t threads);
  void announce(const std::vector<int64_t>& indices);
  /// Ends the threads and frees what is decoded: from here on pictures are hardly asked for.
  void let_go();

  /// Height and width of picture `index` after resizing; the picture is decoded only when its record has no size.
  PictureExtent resized_extent(int64_t index);
  Crop center_crop(int64_t index);
  /// Drawn as torchvision's RandomCrop draws it: nothing when there is nothing to cut, else two integers.
  Crop random_crop(int64_t index, torch::Generator& generator);
  /// Whether the cut lies within the resized picture.
  bool holds(int64_t index, Crop crop);

  /// The cut as a float tensor [3, height, width] in [-1, 1], mirrored when `flip`.
  torch::Tensor pixels(int64_t index, Crop crop, bool flip = false);
  /// The same cut of the picture's mask, float [1, height, width] in [0, 1]: its mask file, else its alpha, else ones.
  /// Throws FileError, FormatError naming the file.
  torch::Tensor mask(int64_t index, Crop crop, bool flip = false);

  /// SHA-256 over the picture's encoded bytes, in hex; remembered in its record.
  const std::string& content_hash(int64_t index);

 private:
  const Image& resized(int64_t index);
  PictureExtent resized_extent_of(int64_t index, int64_t width, int64_t height) const;
  Image resize(int64_t index, Image image) const;
  Image load(int64_t index) const;
  const Image& keep(int64_t index, Image image);
  Image take_or_load(int64_t index);
  void work_ahead();
  void end_threads();

  std::vector<PictureRecord> records_;
  PictureTransform transform_;
  std::vector<Fit> fits_;
  std::vector<Image> cache_;            // empty pictures are not kept
  std::vector<PictureExtent> extents_;  // after resizing, of all that were decoded
  Image scratch_;                       // the last one that was not kept
  int64_t scratch_index_ = -1;
  size_t cached_bytes_ = 0;
  std::map<int64_t, Image> masks_;  // resized; emptied when large
  size_t mask_bytes_ = 0;

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<int64_t> wanted_;
  std::set<int64_t> under_way_;
  std::map<int64_t, Image> ahead_;
  std::set<int64_t> in_vain_;  // decoded ahead, and not asked for
  std::map<int64_t, std::exception_ptr> failures_;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

/// Every JPEG, PNG and WebP file directly in `folder`, sorted by name, told by their first bytes; the names of other
/// entries go to `skipped`. At most `limit` pictures when it is not negative. Throws FileError when there is no such
/// folder, or no picture in it (naming what is there instead).
std::vector<PictureRecord> list_pictures(const std::filesystem::path& folder, std::vector<std::string>& skipped,
                                         int64_t limit = -1);

}  // namespace lorikeet
