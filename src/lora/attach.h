// Putting a LoRA's changes into a model's layers as live adapters, and taking them out.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "lora/adapter.h"
#include "lora/lora_file.h"

namespace lorikeet {

/// Adapters by the dotted path of their layer.
using LoraLayers = std::vector<std::pair<std::string, std::shared_ptr<LoraAdapter>>>;

/// A layer's change that was not attached, and why.
struct UnmatchedChange {
  std::string path, reason;
};

/// The layers of a model that can be adapted, by path; one walk over the model for many look-ups.
class AdaptableLayers {
 public:
  explicit AdaptableLayers(torch::nn::Module& model);
  /// Null when there is none.
  AdaptableLayer* find(const std::string& path) const;
  /// In the model's registration order.
  const std::vector<std::pair<std::string, AdaptableLayer*>>& all() const& { return layers_; }
  const std::vector<std::pair<std::string, AdaptableLayer*>>& all() const&& = delete;

 private:
  std::vector<std::pair<std::string, AdaptableLayer*>> layers_;
  std::map<std::string, AdaptableLayer*> by_path_;
};

/// The order in which cloneofsimo's files list these models' layers: down blocks, up blocks, mid block.
BlockOrder block_order(torch::nn::Module& unet, torch::nn::Module& text_encoder);

/// The change as a layer of this weight holds it: linear factors are accepted for 1x1 convolutions and the other way
/// round, as are DoRA's lengths; a convolution's `down` may be flattened. Throws FormatError when it does not fit.
LayerChange fit_change(const LayerChange& change, const torch::Tensor& weight, const torch::Tensor& bias);

/// An adapter for every change that finds its layer, after those already there; on the layer's device, in `dtype`.
/// What finds none, or does not fit, is appended to `unmatched`.
LoraLayers attach_lora(torch::nn::Module& model, const std::vector<LayerChange>& changes, torch::ScalarType dtype,
                       std::vector<UnmatchedChange>& unmatched);

/// Takes these adapters out of their slots.
void detach_lora(torch::nn::Module& model, const LoraLayers& layers);

/// What the adapters change now, apart from their memory and their gradients; in the layers' order.
std::vector<LayerChange> layer_changes(const LoraLayers& layers);

/// The user's scale for all adapters.
void set_lora_scale(const LoraLayers& layers, double scale);

}  // namespace lorikeet
