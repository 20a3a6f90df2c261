// The names that LoRA files give a model's layers, and back.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lorikeet {

/// kohya's spelling of a path: "down_blocks.0.attentions.0.proj_in" -> "down_blocks_0_attentions_0_proj_in".
std::string underscored_name(std::string_view path);

/// The path that kohya spells so, of a Diffusers or an original UNet or of a CLIP text encoder; nothing when a word is
/// not of their vocabulary: "mid_block_attentions_0_proj_in" -> "mid_block.attentions.0.proj_in".
std::optional<std::string> dotted_path(std::string_view underscored);

/// Whether a dotted UNet path is in the layout of the original checkpoints: input_blocks.4.1..., time_embed.0, out.2.
bool is_original_path(std::string_view path);

/// The Diffusers path of an original one, for UNets with two ResNets a block (SD 1.x, SD 2.x, SDXL); nothing when no
/// layer is called so: "input_blocks.4.1.proj_in" -> "down_blocks.1.attentions.0.proj_in".
/// Source: convert_ldm_unet_checkpoint of Diffusers.
std::optional<std::string> diffusers_path(std::string_view original);

}  // namespace lorikeet
