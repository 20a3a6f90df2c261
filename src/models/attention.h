// Attention, feed-forward and the transformer that the UNet puts between its resnets.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <memory>
#include <optional>

#include "models/adaptable.h"
#include "models/layers.h"
#include "models/module_list.h"

namespace lorikeet {

/// Source: Diffusers' Attention with AttnProcessor2_0, for token sequences.
struct Attention : torch::nn::Module {
  /// `bias`: of to_q, to_k and to_v. With `norm_groups` x goes through a GroupNorm of eps 1e-6 first.
  Attention(int64_t query_dim, int64_t context_dim, int64_t heads, bool bias,
            std::optional<int64_t> norm_groups = std::nullopt);
  /// x: [B, N, query_dim]; context: [B, T, context_dim], undefined means x itself;
  /// bias: [B, 1, T] added to the scores, may be undefined -> [B, N, query_dim]
  torch::Tensor forward(torch::Tensor x, const torch::Tensor& context = {}, const torch::Tensor& bias = {});

  std::shared_ptr<GroupNorm> group_norm;
  std::shared_ptr<AdaptableLinear> to_q, to_k, to_v;
  std::shared_ptr<ModuleList<AdaptableLinear>> to_out;
  int64_t heads;
};

/// Linear to twice the width; one half gates the other through gelu.
struct GEGLU : torch::nn::Module {
  GEGLU(int64_t dim, int64_t inner);
  torch::Tensor forward(const torch::Tensor& x);

  std::shared_ptr<AdaptableLinear> proj;
};

/// Keys: net.0.proj, net.2 (net.1 is a dropout that is always off).
struct FeedForward : torch::nn::Module {
  explicit FeedForward(int64_t dim);
  torch::Tensor forward(const torch::Tensor& x);

 private:
  std::shared_ptr<GEGLU> project_in;
  std::shared_ptr<AdaptableLinear> project_out;
};

struct TransformerOptions {
  int64_t channels = 0;
  int64_t heads = 1;
  int64_t layers = 1;
  int64_t cross_attention_dim = 0;
  int64_t norm_groups = 32;
  bool linear_projection = false;
  bool only_cross_attention = false;
};

/// Self-attention, cross-attention and feed-forward, each after its norm and around a residual.
struct BasicTransformerBlock : torch::nn::Module {
  explicit BasicTransformerBlock(const TransformerOptions& options);
  /// x: [B, N, channels], context: [B, T, cross_attention_dim], context_bias: [B, 1, T] or undefined
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& context, const torch::Tensor& context_bias);

  bool gradient_checkpointing = false;

 private:
  torch::Tensor compute(torch::Tensor x, const torch::Tensor& context, const torch::Tensor& context_bias);

  std::shared_ptr<LayerNorm> norm1;
  std::shared_ptr<Attention> attn1;
  std::shared_ptr<LayerNorm> norm2;
  std::shared_ptr<Attention> attn2;
  std::shared_ptr<LayerNorm> norm3;
  std::shared_ptr<FeedForward> ff;
  bool only_cross_attention;
};

/// Source: Diffusers' Transformer2DModel on continuous inputs.
struct Transformer2DModel : torch::nn::Module {
  explicit Transformer2DModel(const TransformerOptions& options);
  /// x: [B, channels, h, w], the same shape out; the rest as in BasicTransformerBlock
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& context, const torch::Tensor& context_bias);

 private:
  std::shared_ptr<GroupNorm> norm;
  std::shared_ptr<torch::nn::Module> proj_in;  // AdaptableLinear with linear_projection, else AdaptableConv2d
  std::shared_ptr<ModuleList<BasicTransformerBlock>> transformer_blocks;
  std::shared_ptr<torch::nn::Module> proj_out;
  bool linear_projection;
};

}  // namespace lorikeet
