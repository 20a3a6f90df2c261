// cloneofsimo's LoRAs: pairs without names, in the order in which his program came upon the layers.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lora/formats/layer_table.h"
#include "lora/formats/lora_contents.h"

namespace lorikeet {

/// One model's pairs by number, with the keys for messages.
class NumberedPairs {
 public:
  /// Takes "unet:12:up" and "text_encoder:3:down"; false for any other key.
  bool take(const std::string& key, const torch::Tensor& tensor, const FactorReader& reader);
  /// Of a file that is a list [up, down, up, down, ...].
  void take_list(LoraComponent component, const std::vector<torch::Tensor>& list, const FactorReader& reader);
  /// Puts every pair into the layer that its number means. Throws FormatError when a number is missing, or there are
  /// not as many pairs as `order` has layers.
  void place(const BlockOrder& order, LayerTable& table, const FactorReader& reader) const;

 private:
  struct Half {
    std::string key;
    torch::Tensor tensor;
  };
  struct Pair {
    Half up, down;
  };
  std::map<LoraComponent, std::map<size_t, Pair>> pairs_;
};

}  // namespace lorikeet
