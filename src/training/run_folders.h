// Where a run puts what it makes.
#pragma once

#include <filesystem>

#include "training/train_options.h"

namespace lorikeet {

/// --cache_dir, or OUTPUT/cache.
inline std::filesystem::path cache_folder(const TrainOptions& options) {
  if (options.cache_dir) return *options.cache_dir;
  return std::filesystem::path(options.output_dir) / "cache";
}

/// What --encode_memory=disk fills.
inline std::filesystem::path encode_folder(const TrainOptions& options) { return cache_folder(options) / "encoded"; }

}  // namespace lorikeet
