#include "pipelines/original_config.h"

#include <torch/types.h>

#include <algorithm>

#include "core/errors.h"
#include "core/text.h"
#include "pipelines/original_layout.h"

namespace lorikeet {
namespace {

using nlohmann::json;

constexpr const char* kSupported = "Stable Diffusion 1.x and 2.x models that draw from a text alone are supported";

bool any_starts_with(const std::vector<std::string>& names, const std::string& prefix) {
  return std::any_of(names.begin(), names.end(), [&](const auto& name) { return name.starts_with(prefix); });
}

/// At least so many dimensions, all of a size that a model can have.
std::vector<int64_t> shape_of(const WeightSource& source, const std::string& name, size_t least_dimensions) {
  constexpr int64_t kMost = 1 << 17;
  if (!source.contains(name)) {
    throw FormatError(str(source.description(), ": there is no ", name, ", which such a model has"), kSupported);
  }
  const auto tensor = source.tensor(name);
  const auto shape = tensor.sizes().vec();
  const bool possible = std::all_of(shape.begin(), shape.end(), [](auto size) { return size > 0 && size <= kMost; });
  if (shape.size() >= least_dimensions && possible) return shape;
  throw FormatError(lorikeet::str(source.description(), ": ", name, " is ", tensor.sizes(), ", expected ",
                                  least_dimensions, " dimensions of a model's sizes"));
}

/// How many blocks or layers there are under a name.
int64_t count_of(const WeightSource& source, const std::vector<std::string>& names, const std::string& prefix) {
  constexpr int64_t kMost = 64;
  const int64_t count = count_after(names, prefix);
  if (count >= 1 && count <= kMost) return count;
  throw FormatError(str(source.description(), " has ", count, " of ", prefix, "N, expected 1 to ", kMost), kSupported);
}

/// Of a block, by a convolution that keeps its width.
int64_t width_of(const WeightSource& source, const std::string& convolution) {
  const auto shape = shape_of(source, convolution, 4);
  if (shape[0] == shape[1]) return shape[0];
  throw FormatError(str(source.description(), ": ", convolution, " makes ", shape[0], " channels of ", shape[1],
                        ", expected as many"));
}

[[noreturn]] void refuse_width(const WeightSource& source, const char* what, int64_t width, const char* usual) {
  throw FormatError(str(source.description(), ": ", what, " is ", width, " wide, not ", usual,
                        " as in Stable Diffusion: how many heads and groups it has cannot be told from its tensors"),
                    "give --single_file_config=FOLDER: a model folder in Diffusers' layout with the same configs");
}

/// One value where all are the same, as Diffusers' configs have it.
json value_or_list(const std::vector<int64_t>& values) {
  const bool same = std::all_of(values.begin(), values.end(), [&](auto value) { return value == values[0]; });
  return same ? json(values[0]) : json(values);
}

/// The model that a name can only belong to.
struct Trace {
  const char *prefix, *model;
};
constexpr Trace kOtherModels[] = {
    {"conditioner.embedders.", "a Stable Diffusion XL model"},
    {"model.diffusion_model.joint_blocks.", "a Stable Diffusion 3 model"},
    {"model.diffusion_model.double_blocks.", "a Flux model"},
    {"double_blocks.", "a Flux model"},
    {"joint_blocks.", "a Stable Diffusion 3 model"},
    {"control_model.", "a ControlNet"},
    {"lora_unet_", "a LoRA"},
    {"lora_te_", "a LoRA"},
    {"unet.down_blocks.", "a LoRA, or a model in Diffusers' layout"},
    {"down_blocks.", "a UNet in Diffusers' layout"},
    {"model.diffusion_model.label_emb.", "a model that is conditioned on more than a text"},
};

}  // namespace

void check_is_stable_diffusion(const WeightSource& file) {
  const auto names = file.names();
  const std::string first = std::string(kOriginalUNet) + "input_blocks.0.0.weight";
  for (const auto& [prefix, model] : kOtherModels) {
    if (any_starts_with(names, prefix)) {
      throw FormatError(str(file.description(), " is ", model, ": it has ", prefix, "..."), kSupported);
    }
  }
  if (!file.contains(first)) {
    throw FormatError(str(file.description(), " is no Stable Diffusion model in the original layout: there is no ",
                          first, " among its ", names.size(), " tensors"),
                      kSupported);
  }
  const auto shape = shape_of(file, first, 4);
  if (shape[1] != 4) {
    const char* kind = shape[1] == 9   ? " (an inpainting model)"
                       : shape[1] == 8 ? " (an instruct-pix2pix model)"
                       : shape[1] == 5 ? " (a depth model)"
                       : shape[1] == 7 ? " (an upscaler)"
                                       : "";
    throw FormatError(str(file.description(), ": the UNet takes ", shape[1], " channels", kind, ", expected 4"),
                      kSupported);
  }
  if (!any_starts_with(names, kOriginalVae) && !any_starts_with(names, "vae.")) {
    throw FormatError(str(file.description(), " has no VAE: there is no ", kOriginalVae, "..."),
                      "a file with all parts of the model is needed");
  }
  if (!any_starts_with(names, kOriginalClip) && !has_open_clip(file)) {
    throw FormatError(str(file.description(), " has no text encoder: there is neither ", kOriginalClip, "... nor ",
                          kOriginalOpenClip, "..."),
                      "a file with all parts of the model is needed");
  }
}

bool has_open_clip(const WeightSource& file) { return any_starts_with(file.names(), kOriginalOpenClip); }

json infer_unet_config(const WeightSource& unet, int64_t sample_size) {
  const auto names = unet.names();
  std::vector<int64_t> channels, layers;
  std::vector<std::string> down, up;
  std::string attention;  // one that shows the width of the text
  const int64_t blocks = count_of(unet, names, "down_blocks."), up_blocks = count_of(unet, names, "up_blocks.");
  for (int64_t b = 0; b < blocks; ++b) {
    const std::string block = str("down_blocks.", b, ".");
    channels.push_back(width_of(unet, block + "resnets.0.conv2.weight"));
    layers.push_back(count_of(unet, names, block + "resnets."));
    const bool attends = any_starts_with(names, block + "attentions.");
    if (attends && attention.empty()) attention = block + "attentions.0.";
    down.push_back(attends ? "CrossAttnDownBlock2D" : "DownBlock2D");
  }
  for (int64_t b = 0; b < up_blocks; ++b) {
    up.push_back(any_starts_with(names, str("up_blocks.", b, ".attentions.")) ? "CrossAttnUpBlock2D" : "UpBlock2D");
  }
  if (attention.empty()) throw FormatError(str(unet.description(), ": no block attends to the text"), kSupported);
  if (channels[0] != 320) refuse_width(unet, "the UNet's first block", channels[0], "320");
  const bool linear = shape_of(unet, attention + "proj_in.weight", 2).size() == 2;
  std::vector<int64_t> heads;  // Stable Diffusion 2's are 64 wide, Stable Diffusion 1 has 8 at every width
  for (const auto width : channels) heads.push_back(linear ? width / 64 : 8);
  json config = {{"_class_name", "UNet2DConditionModel"},
                 {"sample_size", sample_size},
                 {"in_channels", shape_of(unet, "conv_in.weight", 4)[1]},
                 {"out_channels", shape_of(unet, "conv_out.weight", 4)[0]},
                 {"block_out_channels", channels},
                 {"layers_per_block", value_or_list(layers)},
                 {"down_block_types", down},
                 {"up_block_types", up},
                 {"cross_attention_dim", shape_of(unet, attention + "transformer_blocks.0.attn2.to_k.weight", 2)[1]},
                 {"attention_head_dim", value_or_list(heads)},
                 {"use_linear_projection", linear}};
  if (!any_starts_with(names, "mid_block.")) config["mid_block_type"] = nullptr;
  return config;
}

json infer_vae_config(const WeightSource& vae, int64_t sample_size) {
  const auto names = vae.names();
  std::vector<int64_t> channels;
  const int64_t blocks = count_of(vae, names, "encoder.down_blocks.");
  for (int64_t b = 0; b < blocks; ++b) {
    channels.push_back(width_of(vae, str("encoder.down_blocks.", b, ".resnets.0.conv2.weight")));
  }
  const int64_t first = shape_of(vae, "encoder.conv_in.weight", 4)[0];
  if (first != 128) refuse_width(vae, "the VAE's first block", first, "128");
  return {{"_class_name", "AutoencoderKL"},
          {"sample_size", sample_size},
          {"in_channels", shape_of(vae, "encoder.conv_in.weight", 4)[1]},
          {"out_channels", shape_of(vae, "decoder.conv_out.weight", 4)[0]},
          {"latent_channels", shape_of(vae, "decoder.conv_in.weight", 4)[1]},
          {"block_out_channels", channels},
          {"layers_per_block", count_of(vae, names, "encoder.down_blocks.0.resnets.")},
          {"down_block_types", std::vector<std::string>(channels.size(), "DownEncoderBlock2D")},
          {"up_block_types", std::vector<std::string>(channels.size(), "UpDecoderBlock2D")},
          {"scaling_factor", 0.18215}};
}

json infer_text_config(const WeightSource& text_encoder, bool open_clip) {
  const auto names = text_encoder.names();
  const std::string model = any_starts_with(names, "text_model.") ? "text_model." : "";
  const auto tokens = shape_of(text_encoder, model + "embeddings.token_embedding.weight", 2);
  const int64_t width = tokens[1], usual = open_clip ? 1024 : 768;
  if (width != usual) refuse_width(text_encoder, "the text encoder", width, open_clip ? "1024" : "768");
  return {{"architectures", {"CLIPTextModel"}},
          {"model_type", "clip_text_model"},
          {"vocab_size", tokens[0]},
          {"hidden_size", width},
          {"intermediate_size", shape_of(text_encoder, model + "encoder.layers.0.mlp.fc1.weight", 2)[0]},
          {"num_hidden_layers", count_of(text_encoder, names, model + "encoder.layers.")},
          {"num_attention_heads", width / 64},
          {"max_position_embeddings", shape_of(text_encoder, model + "embeddings.position_embedding.weight", 2)[0]},
          {"hidden_act", open_clip ? "gelu" : "quick_gelu"}};
}

json original_scheduler_config(const std::string& prediction_type) {
  json config = {{"_class_name", prediction_type == "v_prediction" ? "DDIMScheduler" : "PNDMScheduler"},
                 {"beta_start", 0.00085},
                 {"beta_end", 0.012},
                 {"beta_schedule", "scaled_linear"},
                 {"clip_sample", false},
                 {"num_train_timesteps", 1000},
                 {"prediction_type", prediction_type},
                 {"set_alpha_to_one", false},
                 {"skip_prk_steps", true},
                 {"steps_offset", 1},
                 {"trained_betas", nullptr}};
  return config;
}

}  // namespace lorikeet
