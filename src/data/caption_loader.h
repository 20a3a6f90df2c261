// Batches as Diffusers' text-to-image script makes them.
#pragma once

#include "data/captions.h"
#include "data/loader.h"

namespace lorikeet {

/// One picture set with captions. For each picture of a batch a crop and, with `random_flip`, a flip are drawn, then
/// for each a caption. A picture counts `repeats` times in an epoch. With buckets (see PictureSet::set_fits) a batch
/// holds pictures of one size: each size fills its own batches in the epoch's order, and what is left over makes short
/// batches at the end, in the order in which the sizes first came up.
class CaptionLoader : public Loader {
 public:
  struct Options {
    int64_t batch_size = 1;
    bool center_crop = false;
    bool random_flip = false;
    bool buckets = false;
    CaptionOptions captions;
  };
  /// All must outlive the loader; `random` is Python's generator, which captions are drawn from. Throws FormatError for
  /// no examples, and for more than ten million.
  CaptionLoader(PictureSets& sets, Options options, torch::Generator& generator, PythonRandom& random);

  int64_t batches_per_epoch() const override;
  /// Every cut that an epoch may ask for, each once; empty when they cannot be listed (random crops).
  std::vector<PictureRef> all_cuts() const;
  /// Every text likewise; empty when they cannot be listed (shuffled captions).
  std::vector<std::string> all_texts() const;

 private:
  PictureBatch draw(const std::vector<int64_t>& examples) override;
  std::vector<std::vector<int64_t>> make_batches(const std::vector<int64_t>& order) const override;
  bool fits(const PictureBatch& batch) const override;
  std::vector<PictureRef> pictures_of(int64_t example) const override;

  Options options_;
  PythonRandom& random_;
  std::vector<int64_t> picture_of_;  // by example
  bool captions_are_lists_ = false;
};

}  // namespace lorikeet
