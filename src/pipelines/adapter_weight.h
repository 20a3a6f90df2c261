// How strong one LoRA is beside others, as a whole and by block. Free of torch.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace lorikeet {

/// Weights multiply: the LoRA's own, that of the block a layer is in, and a call's `scale`.
/// Source: set_adapters of Diffusers; its nested dict is flat here.
struct AdapterWeight {
  double weight = 1;
  /// By "text_encoder", "down", "mid", "up", "down.block_1" or "down.block_1.0" (its first attention, and what stands
  /// beside that: resnets.0); the longest name that means a layer counts. Blocks without attention stay at 1.
  std::map<std::string, double> blocks = {};

  /// For the UNet's layer at `path`.
  double of_unet_layer(const std::string& path) const;
  double of_text_encoder() const;
};

/// {"down=0.5", "up.block_1=0.4"} as AdapterWeight::blocks. Throws UsageError for what is no NAME=NUMBER or no such
/// name; `flag` is for messages.
std::map<std::string, double> parse_block_weights(const std::vector<std::string>& items, const std::string& flag);

/// Throws UsageError for a block that the UNet, given by its layers' paths, has not, or that has no attention.
void check_block_weights(const std::map<std::string, double>& blocks, const std::vector<std::string>& unet_paths);

}  // namespace lorikeet
