// Clipping of gradients by their joint norm.
#pragma once

#include <torch/types.h>

#include <vector>

namespace lorikeet {

/// The joint L2 norm of the parameters' gradients, a 0-dim tensor; 0 without any.
torch::Tensor gradient_norm(const std::vector<torch::Tensor>& parameters);

/// Scales the gradients so that their joint L2 norm is at most `max_norm`, as torch.nn.utils.clip_grad_norm_ does
/// (they are multiplied even when they are small enough). Returns the norm before.
torch::Tensor clip_gradient_norm(const std::vector<torch::Tensor>& parameters, double max_norm);

}  // namespace lorikeet
