// The ends of keys in LoRA files: which factor of its layer a tensor is.
#pragma once

#include <optional>
#include <string_view>

#include "lora/formats/layer_key.h"

namespace lorikeet {

struct SplitKey {
  std::string_view layer;  // the key up to the factor's name
  FactorName factor;
};

/// "x.lora_A.weight" -> "x" and its down half; nothing for an end that no dialect has.
std::optional<SplitKey> split_factor(std::string_view key);

/// What a key with an unknown end may be, for people.
std::string_view unknown_factor_reason(std::string_view key);

}  // namespace lorikeet
