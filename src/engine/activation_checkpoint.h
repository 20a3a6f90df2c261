// Gradient checkpointing: forget a block's intermediate tensors, compute them again when backward asks for them.
#pragma once

#include <torch/types.h>

#include <functional>
#include <vector>

namespace lorikeet {

using TensorFunction = std::function<std::vector<torch::Tensor>(const std::vector<torch::Tensor>&)>;

/// function(inputs), without keeping what backward needs: that is recomputed, under the same autocast state and the
/// same random numbers, the first time it is asked for. The autograd graph is the one that a plain call builds, so
/// gradients are bit-identical to it. Outside grad mode it is a plain call.
/// `function` must be deterministic but for the tracked generators, and must not write to its inputs.
/// Source: the saved-tensor-hooks form of torch.utils.checkpoint (use_reentrant=False).
std::vector<torch::Tensor> activation_checkpoint(const TensorFunction& function, std::vector<torch::Tensor> inputs);

/// While it lives, activation_checkpoint on this thread rewinds these generators for the recomputation (dropout
/// masks come out the same), and puts them back after it.
class CheckpointedGenerators {
 public:
  explicit CheckpointedGenerators(std::vector<torch::Generator> generators);
  ~CheckpointedGenerators();
  CheckpointedGenerators(const CheckpointedGenerators&) = delete;
  CheckpointedGenerators& operator=(const CheckpointedGenerators&) = delete;

 private:
  std::vector<torch::Generator> previous_;
};

}  // namespace lorikeet
