// The denoising network of Stable Diffusion 1.x, 2.x and their small relatives.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "io/weights.h"
#include "models/unet_blocks.h"
#include "models/unet_config.h"

namespace lorikeet {

/// Two linear layers that turn a timestep's sines into the embedding all resnets see.
struct TimestepEmbedding : torch::nn::Module {
  TimestepEmbedding(int64_t in_channels, int64_t time_embed_dim, std::optional<Activation> post_act = std::nullopt,
                    std::optional<int64_t> cond_proj_dim = std::nullopt);
  /// x: [B, in_channels], condition: [B, cond_proj_dim] or undefined -> [B, time_embed_dim]
  torch::Tensor forward(torch::Tensor x, const torch::Tensor& condition = {});

 private:
  std::shared_ptr<AdaptableLinear> linear_1, cond_proj, linear_2;
  std::optional<Activation> post_act;
};

/// timesteps: [B] of any number type -> float32 [B, dim]. Source: Diffusers' get_timestep_embedding.
torch::Tensor timestep_embedding(const torch::Tensor& timesteps, int64_t dim, bool flip_sin_to_cos,
                                 double downscale_freq_shift);

/// Predicts noise, velocity or sample, whatever it was trained for. Source: Diffusers' UNet2DConditionModel.
class UNet2DConditionModel : public torch::nn::Module {
 public:
  /// Parameters are uninitialised until load(); in eval mode. Throws FormatError, see UNetConfig.
  static std::shared_ptr<UNet2DConditionModel> from_config(const nlohmann::json& json);
  explicit UNet2DConditionModel(UNetConfig config);

  /// See load_weights.
  void load(const WeightSource& source, torch::ScalarType dtype);

  /// sample: [B, in_channels, h, w], any h and w; timesteps: [B], [1] or []; encoder_hidden_states: [B, T, D];
  /// class_labels: [B], or [B, width] for projections; encoder_attention_mask: [B, T], 1 keeps, 0 discards;
  /// timestep_cond: [B, time_cond_proj_dim] -> [B, out_channels, h, w].
  /// Throws UsageError when class labels are missing or not wanted.
  torch::Tensor forward(const torch::Tensor& sample, const torch::Tensor& timesteps,
                        const torch::Tensor& encoder_hidden_states, const torch::Tensor& class_labels = {},
                        const torch::Tensor& encoder_attention_mask = {}, const torch::Tensor& timestep_cond = {});

  /// In training, resnets and transformer blocks then forget their inner tensors until backward.
  void enable_gradient_checkpointing();

  const UNetConfig& config() const { return config_; }

 private:
  torch::Tensor embed_time(const torch::Tensor& sample, const torch::Tensor& timesteps,
                           const torch::Tensor& class_labels, const torch::Tensor& timestep_cond);
  torch::Tensor embed_class(const torch::Tensor& sample, torch::Tensor labels);
  void register_class_embedding();
  void register_blocks();

  UNetConfig config_;
  std::shared_ptr<AdaptableConv2d> conv_in;
  std::shared_ptr<TimestepEmbedding> time_embedding;
  std::shared_ptr<torch::nn::Module> class_embedding;  // its type goes with config_.class_embed_type
  std::shared_ptr<ModuleList<UNetDownBlock>> down_blocks;
  std::shared_ptr<ModuleList<UNetUpBlock>> up_blocks;
  std::shared_ptr<UNetMidBlock2DCrossAttn> mid_block;
  std::shared_ptr<GroupNorm> conv_norm_out;
  std::shared_ptr<AdaptableConv2d> conv_out;
};

}  // namespace lorikeet
