// How Stable Diffusion's original files name the modules of UNet, VAE and OpenCLIP's text encoder.
// Source: the layout of CompVis/latent-diffusion's checkpoints; what Diffusers' convert_ldm_*_checkpoint functions
// (loaders/single_file_utils.py) make of every key of SD 1.5 and SD 2.1 is in tests/data/single_file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pipelines/module_names.h"

namespace lorikeet {

inline constexpr const char* kOriginalUNet = "model.diffusion_model.";
inline constexpr const char* kOriginalVae = "first_stage_model.";
inline constexpr const char* kOriginalClip = "cond_stage_model.transformer.";
inline constexpr const char* kOriginalOpenClip = "cond_stage_model.model.";

/// Which layout a list of tensors' names is in.
enum class Layout { kOriginal, kDiffusers };

/// The names of a model's parts, without the prefixes above, from the names of the tensors that it has: blocks and
/// layers are counted there. A tensor that has no place in such a model stays without a translation.
ModuleNames unet_names(const std::vector<std::string>& tensors, Layout layout);
ModuleNames vae_names(const std::vector<std::string>& tensors, Layout layout);
/// But for in_proj_weight and in_proj_bias, in which the original layout keeps three tensors of Diffusers' as one.
ModuleNames open_clip_names(int64_t layers);

/// How many of the numbers 0, 1, 2 ... follow `prefix` in some name: the blocks of "encoder.down.".
int64_t count_after(const std::vector<std::string>& names, const std::string& prefix);

}  // namespace lorikeet
