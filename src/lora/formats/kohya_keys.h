// kohya's and LyCORIS' keys: lora_unet_ or lora_te_ and the layer's path with underscores.
#pragma once

#include <string_view>

#include "lora/formats/layer_key.h"

namespace lorikeet {

bool is_kohya_key(std::string_view key);

/// "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"; SDXL's are lora_unet_middle_block_1_proj_in…, lora_te1_
/// and lora_te2_.
KeyReading read_kohya_key(std::string_view key);

}  // namespace lorikeet
