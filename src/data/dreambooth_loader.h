// Batches as Diffusers' DreamBooth script makes them.
#pragma once

#include <string>

#include "data/loader.h"

namespace lorikeet {

/// Set 0 holds the instances, set 1, if there is one, the class pictures. Example i holds instance i mod #instances
/// and class picture i mod #classes, each with its set's prompt; a batch holds all its instances first. Pictures that
/// are held out do not count.
class DreamboothLoader : public Loader {
 public:
  struct Options {
    int64_t batch_size = 1;
    bool center_crop = false;
    std::vector<std::string> prompts;  // one a set
  };
  /// The sets and the generator must outlive the loader.
  DreamboothLoader(PictureSets& sets, Options options, torch::Generator& generator);

 private:
  PictureBatch draw(const std::vector<int64_t>& examples) override;
  bool fits(const PictureBatch& batch) const override;
  std::vector<PictureRef> pictures_of(int64_t example) const override;

  Options options_;
  std::vector<std::vector<int64_t>> members_;  // of each set: the pictures that are trained on
};

}  // namespace lorikeet
