// How far apart two LoRAs are.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lora/lora_parts.h"

namespace lorikeet {

/// Of Frobenius norms: |a - b| / max(|a|, |b|), 0 for equal changes, 1 where one is absent, at most 2.
struct ChangeDistance {
  double norm_a = 0, norm_b = 0, difference = 0;
  double distance() const;
  /// Of the angle between both changes; 0 when one is absent or zero.
  double cosine() const;
};

struct LayerComparison {
  std::string part, path;
  bool in_a = false, in_b = false;
  ChangeDistance weight;  // strength · ΔW; of DoRA without its lengths
  /// Where either has them; for a layer in both.
  std::optional<ChangeDistance> bias, magnitude;
};

struct CompareReport {
  std::vector<LayerComparison> layers;  // all layers of both, part by part, by path
  ChangeDistance weights;               // all weights together
  std::vector<std::string> words_only_in_a, words_only_in_b, words_different;

  /// Layers that only one of them has, as "unet.PATH".
  std::vector<std::string> only_in_a() const, only_in_b() const;
};

/// Throws FormatError: the LoRAs change a layer in different shapes, so that they are for different base models, or
/// factors do not go together. Interrupted: see LayerProgress.
CompareReport compare_loras(const LoraFile& a, const LoraFile& b, const LayerProgress& progress = {});

}  // namespace lorikeet
