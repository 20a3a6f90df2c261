// Fills a model's parameters by name.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <functional>
#include <optional>
#include <string>

#include "io/weights.h"

namespace lorikeet {

/// From a source's key to the model's; nullopt for a key that is no parameter and may be there (an old buffer).
using KeyRename = std::function<std::optional<std::string>(const std::string&)>;

/// Gives every parameter of `model` the source's tensor of its name, cast to `dtype`, and freezes it. Tensors that
/// need no cast are shared with the source, so they may lie in read-only memory: replace them, never write into them.
/// Throws FormatError listing the missing and unexpected keys, and those whose shape differs with both shapes; then
/// no parameter has changed.
void load_weights(torch::nn::Module& model, const WeightSource& source, torch::ScalarType dtype,
                  const KeyRename& rename = {});

}  // namespace lorikeet
