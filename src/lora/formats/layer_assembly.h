// One layer's tensors, put together to a change.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "lora/formats/layer_key.h"
#include "lora/formats/lora_contents.h"

namespace lorikeet {

/// What a file has of one layer, by role.
struct LayerParts {
  struct Part {
    std::string key;
    torch::Tensor tensor;
  };
  std::map<std::string_view, Part> parts;
  std::optional<ChangeKind> kind;
  LoraDialect dialect = LoraDialect::kDiffusers;

  /// Throws FormatError when the role is taken, or the layer is changed in another way as well.
  void add(const std::string& key, const FactorName& factor, const torch::Tensor& tensor, const FactorReader& reader);
  /// It has nothing but numbers.
  bool is_empty() const;
};

/// alpha / rank where the file has no alpha of its own for a layer.
using StrengthRule = std::function<double(int64_t rank)>;

/// Throws FormatError naming a key when a factor is missing or of a shape that goes with no rule.
LayerChange assemble_layer(const std::string& path, const LayerParts& parts, const StrengthRule& rule,
                           FactorReader& reader);

/// The number of inputs of the layer, kernel aside; 0 when the factors do not tell.
int64_t change_inputs(const LayerChange& change);

}  // namespace lorikeet
