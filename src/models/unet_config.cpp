#include "models/unet_config.h"

#include <algorithm>

#include "models/config_reader.h"

namespace lorikeet {
namespace {

using Names = std::vector<std::string>;

void read_blocks(ConfigReader& reader, UNetConfig& config) {
  const std::string down = "CrossAttnDownBlock2D", plain_down = "DownBlock2D";
  const std::string up = "CrossAttnUpBlock2D", plain_up = "UpBlock2D";
  for (const auto& type : reader.texts("down_block_types", Names{down, down, down, plain_down})) {
    if (type != down && type != plain_down) reader.refuse("down_block_types", down + " and " + plain_down);
    config.down_has_attention.push_back(type == down);
  }
  for (const auto& type : reader.texts("up_block_types", Names{plain_up, up, up, up})) {
    if (type != up && type != plain_up) reader.refuse("up_block_types", up + " and " + plain_up);
    config.up_has_attention.push_back(type == up);
  }
  config.block_out_channels = reader.integers("block_out_channels", {320, 640, 1280, 1280});
  const auto count = config.down_has_attention.size();
  if (count == 0) reader.refuse("down_block_types", "at least one block");
  if (config.up_has_attention.size() != count) reader.refuse("up_block_types", "as many as down_block_types");
  if (config.block_out_channels.size() != count) reader.refuse("block_out_channels", "as many as down_block_types");
  reader.require("mid_block_type", {"UNetMidBlock2DCrossAttn", nullptr});
  config.only_cross_attention = reader.boolean_per_block("only_cross_attention", false, count);
  config.layers_per_block = reader.integer_per_block("layers_per_block", 2, count);
  config.transformer_layers_per_block = reader.integer_per_block("transformer_layers_per_block", 1, count);
  config.num_attention_heads = reader.integer_per_block("attention_head_dim", 8, count);
  const auto dims = reader.integer_per_block("cross_attention_dim", 1280, count);
  if (std::any_of(dims.begin(), dims.end(), [&](auto dim) { return dim != dims[0]; })) {
    reader.refuse("cross_attention_dim", "the same width for all blocks, as they see the same text");
  }
  config.cross_attention_dim = dims[0];
}

void check_sizes(const ConfigReader& reader, const UNetConfig& config) {
  const auto all_positive = [](const std::vector<int64_t>& values) {
    return std::all_of(values.begin(), values.end(), [](auto value) { return value > 0; });
  };
  if (config.in_channels < 1) reader.refuse("in_channels", "at least 1");
  if (config.out_channels < 1) reader.refuse("out_channels", "at least 1");
  if (config.norm_num_groups < 1) reader.refuse("norm_num_groups", "at least 1");
  if (config.cross_attention_dim < 1) reader.refuse("cross_attention_dim", "at least 1");
  if (config.downsample_padding < 0) reader.refuse("downsample_padding", "0 or more");
  if (!all_positive(config.layers_per_block)) reader.refuse("layers_per_block", "at least 1");
  if (!all_positive(config.transformer_layers_per_block)) reader.refuse("transformer_layers_per_block", "at least 1");
  if (!all_positive(config.num_attention_heads)) reader.refuse("attention_head_dim", "at least 1");
  for (size_t i = 0; i < config.block_out_channels.size(); ++i) {
    const auto channels = config.block_out_channels[i];
    if (channels < 1 || channels % config.norm_num_groups != 0) {
      reader.refuse("block_out_channels", "multiples of norm_num_groups");
    }
    if (channels % config.num_attention_heads[i] != 0) {
      reader.refuse("attention_head_dim", "divisors of block_out_channels, as it means the number of heads");
    }
  }
  if (config.conv_in_kernel < 1 || config.conv_in_kernel % 2 == 0) reader.refuse("conv_in_kernel", "an odd size");
  if (config.conv_out_kernel < 1 || config.conv_out_kernel % 2 == 0) reader.refuse("conv_out_kernel", "an odd size");
}

void read_class_embedding(ConfigReader& reader, UNetConfig& config) {
  const auto table = reader.optional_integer("num_class_embeds");
  const auto width = reader.optional_integer("projection_class_embeddings_input_dim");
  const auto type = reader.optional_text("class_embed_type");
  config.class_embeddings_concat = reader.boolean("class_embeddings_concat", false);
  if (!type) {
    if (table) config.class_embed_type = ClassEmbedding::kTable;
    config.class_embed_input_dim = table.value_or(0);
  } else if (*type == "timestep") {
    config.class_embed_type = ClassEmbedding::kTimestep;
  } else if (*type == "identity") {
    config.class_embed_type = ClassEmbedding::kIdentity;
  } else if (*type == "projection" || *type == "simple_projection") {
    config.class_embed_type = *type == "projection" ? ClassEmbedding::kProjection : ClassEmbedding::kSimpleProjection;
    if (!width) reader.refuse("projection_class_embeddings_input_dim", "an integer with class_embed_type " + *type);
    config.class_embed_input_dim = *width;
  } else {
    reader.refuse("class_embed_type", "null, timestep, identity, projection or simple_projection");
  }
  if (type && table) reader.refuse("num_class_embeds", "null with class_embed_type " + *type);
  const bool projected = type && type->ends_with("projection");
  if (width && !projected) {
    reader.refuse("projection_class_embeddings_input_dim", "null without class_embed_type projection");
  }
  if (config.class_embeddings_concat && config.class_embed_type == ClassEmbedding::kNone) {
    reader.refuse("class_embeddings_concat", "false without class embeddings");
  }
  if ((table && *table < 1) || (width && *width < 1)) {
    reader.refuse(table ? "num_class_embeds" : "projection_class_embeddings_input_dim", "at least 1");
  }
}

std::optional<Activation> read_activation(ConfigReader& reader, const std::string& key) {
  reader.require(key, {nullptr, "silu", "swish", "mish", "gelu", "relu"});
  const auto name = reader.optional_text(key);
  return name ? std::optional(parse_activation(*name)) : std::nullopt;
}

void read_time(ConfigReader& reader, UNetConfig& config) {
  reader.require("time_embedding_type", {"positional"});
  config.flip_sin_to_cos = reader.boolean("flip_sin_to_cos", true);
  config.freq_shift = reader.number("freq_shift", 0);
  config.time_embed_dim = reader.optional_integer("time_embedding_dim").value_or(config.block_out_channels[0] * 4);
  if (config.time_embed_dim < 1) reader.refuse("time_embedding_dim", "at least 1");
  config.time_embedding_act_fn = read_activation(reader, "time_embedding_act_fn");
  config.timestep_post_act = read_activation(reader, "timestep_post_act");
  config.time_cond_proj_dim = reader.optional_integer("time_cond_proj_dim");
  reader.require("resnet_time_scale_shift", {"default", "scale_shift"});
  config.scale_shift = reader.text("resnet_time_scale_shift", "default") == "scale_shift";
}

void require_plain_rest(ConfigReader& reader) {
  reader.require("act_fn", {"silu", "swish"});
  reader.require("dropout", {0.0});
  reader.require("dual_cross_attention", {false});
  reader.require("attention_type", {"default"});
  reader.require("resnet_skip_time_act", {false});
  reader.require("resnet_out_scale_factor", {1.0});
  reader.require("mid_block_only_cross_attention", {nullptr, false});
  for (const auto* key :
       {"num_attention_heads", "reverse_transformer_layers_per_block", "encoder_hid_dim", "encoder_hid_dim_type",
        "addition_embed_type", "addition_time_embed_dim", "cross_attention_norm"}) {
    reader.require(key, {nullptr});
  }
  // Of no effect without an addition_embed_type.
  reader.integer("addition_embed_type_num_heads", 64);
  // Diffusers' attention by scaled_dot_product_attention does not look at it. Converted files say null.
  reader.require("upcast_attention", {false, true, nullptr});
}

// A square, or its side; no size is Stable Diffusion's.
int64_t read_sample_size(ConfigReader& reader, const nlohmann::json& json) {
  if (json.contains("sample_size") && json["sample_size"].is_array()) {
    const auto sides = reader.integers("sample_size", {});
    if (sides.size() != 2 || sides[0] != sides[1]) reader.refuse("sample_size", "a square");
    return sides[0];
  }
  const auto side = reader.optional_integer("sample_size").value_or(64);
  if (side < 1) reader.refuse("sample_size", "at least 1");
  return side;
}

}  // namespace

UNetConfig UNetConfig::from_json(const nlohmann::json& json) {
  ConfigReader reader(json, "UNet2DConditionModel");
  reader.require("_class_name", {"UNet2DConditionModel"});
  UNetConfig config;
  config.sample_size = read_sample_size(reader, json);
  config.in_channels = reader.integer("in_channels", 4);
  config.out_channels = reader.integer("out_channels", 4);
  config.center_input_sample = reader.boolean("center_input_sample", false);
  read_blocks(reader, config);
  config.has_mid_block = !json.contains("mid_block_type") || !json["mid_block_type"].is_null();
  config.downsample_padding = reader.integer("downsample_padding", 1);
  config.mid_block_scale_factor = reader.number("mid_block_scale_factor", 1);
  config.norm_num_groups = reader.integer("norm_num_groups", 32);
  config.norm_eps = reader.number("norm_eps", 1e-5);
  config.use_linear_projection = reader.boolean("use_linear_projection", false);
  config.conv_in_kernel = reader.integer("conv_in_kernel", 3);
  config.conv_out_kernel = reader.integer("conv_out_kernel", 3);
  read_time(reader, config);
  read_class_embedding(reader, config);
  require_plain_rest(reader);
  reader.finish();
  check_sizes(reader, config);
  return config;
}

}  // namespace lorikeet
