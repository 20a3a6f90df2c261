// Keys with dotted paths: Diffusers' final files, PEFT's, and Diffusers' before version 0.20 or so.
#pragma once

#include <string_view>

#include "lora/formats/layer_key.h"

namespace lorikeet {

/// "unet.mid_block.attentions.0.proj_in.lora_A.weight", with or without the model's name before it; old Diffusers'
/// "mid_block….attn1.processor.to_out_lora.down.weight" means the layer to_out.0.
KeyReading read_diffusers_key(std::string_view key);

/// The layer's path as it is in our models, whatever a file leaves out of it or says otherwise. It may be empty of
/// value, when no layer is called so.
KeyReading place_layer(LoraComponent component, std::string path, const FactorName& factor);

}  // namespace lorikeet
