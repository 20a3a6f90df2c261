// Where a tensor of a LoRA file belongs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lora/layer_change.h"
#include "lora/lora_file.h"

namespace lorikeet {

enum class LoraComponent { kUnet, kTextEncoder, kTextEncoder2 };
inline constexpr size_t kLoraComponents = 3;

/// What a tensor is to its layer, by the end of its key.
///   role: as in LayerChange, and beside those
///     alpha, scale: one number; `scale` stands for alpha / rank
///     up_bias: PEFT's bias of the up half, which the strength works on as well
///     peft_magnitude: per output, in a shape of PEFT's own
///   kind: nothing for what goes with every kind
struct FactorName {
  std::string_view role;
  std::optional<ChangeKind> kind;
  LoraDialect dialect;
};

struct LayerKey {
  LoraComponent component;
  std::string path;  // of the layer in its model, as in LayerChange
  FactorName factor;
  bool is_original = false;  // it was spelled as in the original UNet's layout
};

/// A key's place, or why it has none.
struct KeyReading {
  std::optional<LayerKey> layer;
  std::string reason;
};

}  // namespace lorikeet
