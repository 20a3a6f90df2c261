// All layers of a LoRA file, as its keys come in.
#pragma once

#include <array>
#include <map>
#include <string>
#include <vector>

#include "lora/formats/layer_assembly.h"
#include "lora/formats/peft_metadata.h"

namespace lorikeet {

class LayerTable {
 public:
  explicit LayerTable(FactorReader& reader) : reader_(reader) {}

  /// Throws FormatError when the layer's factor is there already.
  void add(const LayerKey& layer, const std::string& key, const torch::Tensor& tensor);
  bool is_empty() const;

  /// The changes in the order of their paths, their dialect, and whether only SDXL has such layers.
  /// Throws FormatError, see assemble_layer.
  void finish(const PeftMetadata& metadata, LoraFile& file) const;

 private:
  struct Component {
    std::map<std::string, LayerParts> diffusers, original;  // by how the layers are spelled
  };
  std::vector<LayerChange> finish(LoraComponent component, const PeftMetadata& metadata, LoraFile& file,
                                  std::map<LoraDialect, size_t>& dialects) const;

  std::array<Component, kLoraComponents> components_;
  FactorReader& reader_;
};

}  // namespace lorikeet
