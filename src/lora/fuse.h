// Baking adapters into a model's weights, and taking them out again.
#pragma once

#include <map>

#include "lora/attach.h"

namespace lorikeet {

/// What fuse_lora replaced in a layer; tensors that were not are undefined.
struct FusedLayer {
  torch::Tensor weight, bias;
  std::vector<std::shared_ptr<LayerAdapter>> adapters;
};
/// By layer path.
using FusedLayers = std::map<std::string, FusedLayer>;

/// Adds what the adapters of every layer change, each at its scale, to weight and bias (computed in float32), and
/// empties the slots. An adapter at scale 0 changes no bit.
FusedLayers fuse_lora(torch::nn::Module& model);

/// Undoes fuse_lora bit for bit; adapters go back into their slots.
void unfuse_lora(torch::nn::Module& model, const FusedLayers& originals);

}  // namespace lorikeet
