// The VAE of Stable Diffusion: pictures to latents and back.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "io/weights.h"
#include "models/vae_blocks.h"

namespace lorikeet {

/// Names and defaults are those of Diffusers' AutoencoderKL.
struct VaeConfig : VaeOptions {
  int64_t in_channels = 3;
  int64_t out_channels = 3;
  int64_t latent_channels = 4;
  int64_t sample_size = 32;  // pixels; the size of a tile
  double scaling_factor = 0.18215;
  bool force_upcast = true;
  bool use_quant_conv = true;
  bool use_post_quant_conv = true;

  /// Pixels per latent.
  int64_t downsampling_factor() const { return int64_t{1} << (block_out_channels.size() - 1); }
  /// Throws FormatError naming key, value and what is supported.
  static VaeConfig from_json(const nlohmann::json& json);
};

/// A normal distribution for every latent value, unscaled (scaling_factor is the caller's).
struct LatentDistribution {
  /// moments: [B, 2 C, h, w], mean and log variance
  explicit LatentDistribution(const torch::Tensor& moments);
  /// mean + std * noise, the noise drawn on the generator's device in the moments' dtype.
  torch::Tensor sample(torch::Generator generator) const;
  torch::Tensor mode() const { return mean; }

  torch::Tensor mean;    // [B, C, h, w]
  torch::Tensor logvar;  // clamped to [-30, 20]
  torch::Tensor std;
};

/// Source: Diffusers' AutoencoderKL.
class AutoencoderKL : public torch::nn::Module {
 public:
  /// Parameters are uninitialised until load(); in eval mode. Throws FormatError, see VaeConfig.
  static std::shared_ptr<AutoencoderKL> from_config(const nlohmann::json& json);
  explicit AutoencoderKL(VaeConfig config);

  /// See load_weights; the attention keys of old files (query, key, value, proj_attn) are understood.
  void load(const WeightSource& source, torch::ScalarType dtype);

  /// x: [B, in_channels, H, W] in -1..1 -> latents of [B, latent_channels, H/f, W/f]
  LatentDistribution encode(const torch::Tensor& x);
  /// z: [B, latent_channels, h, w], already divided by scaling_factor -> [B, out_channels, h f, w f]
  torch::Tensor decode(const torch::Tensor& z);

  /// Pictures larger than sample_size go through in overlapping, blended tiles.
  void set_tiling(bool enabled) { tiling_ = enabled; }
  /// Batches go through one picture at a time.
  void set_slicing(bool enabled) { slicing_ = enabled; }
  /// True where the weights are fp16 but the config asks for fp32 (force_upcast).
  bool needs_upcast() const;

  const VaeConfig& config() const { return config_; }

 private:
  torch::Tensor encode_tile(const torch::Tensor& x);
  torch::Tensor decode_tile(const torch::Tensor& z);
  torch::Tensor encode_moments(const torch::Tensor& x);
  torch::Tensor decode_picture(const torch::Tensor& z);

  VaeConfig config_;
  bool tiling_ = false;
  bool slicing_ = false;
  std::shared_ptr<VaeEncoder> encoder;
  std::shared_ptr<VaeDecoder> decoder;
  std::shared_ptr<AdaptableConv2d> quant_conv, post_quant_conv;
};

}  // namespace lorikeet
