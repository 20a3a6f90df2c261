// One part of a file in the original layout, under Diffusers' names and in Diffusers' shapes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "io/weights.h"

namespace lorikeet {

/// Sources that look into `file`. What these classes do not load is left out (moving averages, a loss, buffers, the
/// projection to pictures); a tensor that has no place in the part keeps its name, for load_weights to tell of it.
std::unique_ptr<WeightSource> original_unet(const std::shared_ptr<const WeightSource>& file);
/// The middle attention's 1x1 convolutions become linear layers. Also of files that keep it under "vae.".
std::unique_ptr<WeightSource> original_vae(const std::shared_ptr<const WeightSource>& file);
/// CLIP's names are Transformers' already.
std::unique_ptr<WeightSource> original_clip(const std::shared_ptr<const WeightSource>& file);
/// in_proj is split into query, key and value. Stable Diffusion 2 does not use the last of OpenCLIP's 24 layers:
/// without `layers` the first 23 are given; with it those, where the file has exactly one more.
std::unique_ptr<WeightSource> original_open_clip(const std::shared_ptr<const WeightSource>& file,
                                                 std::optional<int64_t> layers = std::nullopt);

}  // namespace lorikeet
