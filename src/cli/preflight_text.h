// The look over a data set, in words.
#pragma once

#include <string>
#include <vector>

#include "data/picture_dataset.h"
#include "data/preflight.h"

namespace lorikeet {

/// Lines for people, each ended. First what the data set is, then its pictures and captions, then what may spoil a
/// training, each kind with its count and the first few names. `dataset` is only asked for its kind and skipped files.
std::string preflight_text(const PictureDataset& dataset, const PreflightReport& report);

}  // namespace lorikeet
