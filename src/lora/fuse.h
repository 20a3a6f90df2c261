// Baking adapters into a model's weights, and taking them out again.
#pragma once

#include <map>

#include "lora/inject.h"

namespace lorikeet {

/// The weights that fuse_lora replaced, by layer path.
using FusedWeights = std::map<std::string, torch::Tensor>;

/// weight += adapter's delta (computed in float32) for every layer with an adapter that is not at scale 0; the slots
/// are emptied. Returns the original weights: unfuse_lora puts them back bit for bit.
FusedWeights fuse_lora(torch::nn::Module& model, const LoraLayers& layers);

/// Undoes fuse_lora; adapters go back into their slots.
void unfuse_lora(torch::nn::Module& model, const LoraLayers& layers, const FusedWeights& originals);

}  // namespace lorikeet
