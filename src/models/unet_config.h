// What a UNet's config.json says, checked.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/layers.h"

namespace lorikeet {

enum class ClassEmbedding { kNone, kTable, kTimestep, kIdentity, kProjection, kSimpleProjection };

/// Names and defaults are those of Diffusers' UNet2DConditionModel; vectors hold one value per block, outermost first.
struct UNetConfig {
  int64_t sample_size = 64;  // latents
  int64_t in_channels = 4;
  int64_t out_channels = 4;
  bool center_input_sample = false;
  bool flip_sin_to_cos = true;
  double freq_shift = 0;
  std::vector<bool> down_has_attention;  // CrossAttnDownBlock2D, else DownBlock2D
  std::vector<bool> up_has_attention;    // innermost first, as up_block_types
  bool has_mid_block = true;
  std::vector<bool> only_cross_attention;
  std::vector<int64_t> block_out_channels;
  std::vector<int64_t> layers_per_block;
  int64_t downsample_padding = 1;
  double mid_block_scale_factor = 1;
  int64_t norm_num_groups = 32;
  double norm_eps = 1e-5;
  int64_t cross_attention_dim = 1280;
  std::vector<int64_t> transformer_layers_per_block;
  std::vector<int64_t> num_attention_heads;  // the file's attention_head_dim, which means number of heads
  bool use_linear_projection = false;
  ClassEmbedding class_embed_type = ClassEmbedding::kNone;
  int64_t class_embed_input_dim = 0;  // rows of the table, or width of the projection's input
  bool class_embeddings_concat = false;
  bool scale_shift = false;  // resnet_time_scale_shift
  int64_t time_embed_dim = 0;
  std::optional<Activation> time_embedding_act_fn;
  std::optional<Activation> timestep_post_act;
  std::optional<int64_t> time_cond_proj_dim;
  int64_t conv_in_kernel = 3;
  int64_t conv_out_kernel = 3;

  /// Throws FormatError naming key, value and what is supported: for a key that is unknown, or known with a value
  /// that these classes do not implement, or that contradicts another.
  static UNetConfig from_json(const nlohmann::json& json);
};

}  // namespace lorikeet
