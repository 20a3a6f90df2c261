// One batch of training inputs, by reference: which pictures, which part of each, and what is said of them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/picture_set.h"

namespace lorikeet {

/// One picture of a batch.
struct PictureRef {
  int64_t set = 0;    // which picture set; DreamBooth's class pictures are set 1
  int64_t index = 0;  // in that set
  Crop crop;
  bool flip = false;
  std::string caption;
  bool operator==(const PictureRef&) const = default;
};

using PictureBatch = std::vector<PictureRef>;

/// The picture sets that a run's references point into.
using PictureSets = std::vector<std::unique_ptr<PictureSet>>;

}  // namespace lorikeet
