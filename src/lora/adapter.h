// A LoRA in one layer's slot: live, scaled by the user, trainable.
// Source: Hu et al. 2021, https://arxiv.org/abs/2106.09685; numbers as PEFT's Linear and Conv2d layers, and as its
// DoRA.
#pragma once

#include <memory>

#include "lora/layer_change.h"
#include "models/adaptable.h"

namespace lorikeet {

struct LoraAdapter : LayerAdapter {
  /// Trainable when its factors require grad. A convolution's factors have four dimensions, a linear layer's two.
  LayerChange values;
  double scale = 1;    // the user's; at 0 the layer's output is bit for bit its own
  double dropout = 0;  // probability, of the input; only with `training`
  bool training = false;
  torch::Generator generator;  // of the dropout masks
  /// PiSSA only, while it trains: the factors whose product is missing from the layer's weight (lora/pissa.h). `scale`
  /// stays 1 then.
  std::map<std::string, torch::Tensor> taken_out;

  torch::Tensor change(const AdaptableLayer& layer, const torch::Tensor& input, const torch::Tensor& output) override;

 private:
  torch::Tensor low_rank(const AdaptableLayer& layer, const torch::Tensor& x) const;
  torch::Tensor dora(const AdaptableLayer& layer, const torch::Tensor& x, const torch::Tensor& output) const;
};

}  // namespace lorikeet
