// What an approximation of a LoRA's layers has cost.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "lora/low_rank.h"

namespace lorikeet {

struct LayerTruncation {
  std::string part, path;             // "unet" or another of kLoraParts; the layer's path in it
  int64_t rank_before = 0, rank = 0;  // before: the most that the layer's factors, or its whole weight, can have
  double norm = 0, error_norm = 0;    // Frobenius, of the whole change and of what is lost of it
  double error() const { return norm == 0 ? 0 : error_norm / norm; }  // relative
};

struct TruncationReport {
  std::vector<LayerTruncation> layers;
  std::vector<std::string> kept_whole;  // "unet.PATH" of differences that have no rank: those of norms

  void add(const std::string& part, const std::string& path, const Truncation& truncation) {
    layers.push_back({part, path, truncation.full_rank, truncation.rank(), truncation.norm, truncation.error_norm});
  }
  /// Frobenius norm of all layers' changes together.
  double norm() const { return root_of_squares(&LayerTruncation::norm); }
  /// Relative, of all layers together.
  double error() const { return norm() == 0 ? 0 : root_of_squares(&LayerTruncation::error_norm) / norm(); }

 private:
  double root_of_squares(double LayerTruncation::*value) const {
    double sum = 0;
    for (const auto& layer : layers) sum += layer.*value * (layer.*value);
    return std::sqrt(sum);
  }
};

}  // namespace lorikeet
