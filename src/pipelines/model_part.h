// One part of a model, as its class loads it.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>

#include "io/weights.h"

namespace lorikeet {

/// A UNet, VAE or text encoder: its config.json and its tensors under Diffusers' names.
struct ModelPart {
  nlohmann::json config;
  std::unique_ptr<WeightSource> weights;
};

}  // namespace lorikeet
