// CLIP's text transformer, the text encoder of Stable Diffusion.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "io/weights.h"
#include "models/adaptable.h"
#include "models/layers.h"
#include "models/module_list.h"

namespace lorikeet {

/// Names and defaults are those of transformers' CLIPTextConfig.
struct CLIPTextConfig {
  int64_t vocab_size = 49408;
  int64_t hidden_size = 512;
  int64_t intermediate_size = 2048;
  int64_t num_hidden_layers = 12;
  int64_t num_attention_heads = 8;
  int64_t max_position_embeddings = 77;
  Activation hidden_act = Activation::kQuickGelu;
  double layer_norm_eps = 1e-5;

  /// Throws FormatError naming key, value and what is supported.
  static CLIPTextConfig from_json(const nlohmann::json& json);
};

struct CLIPAttention : torch::nn::Module {
  explicit CLIPAttention(const CLIPTextConfig& config);
  /// x: [B, T, D]; mask: bool [B, 1, T, T], undefined means plainly causal
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& mask);

  // In the order of registration, in which adapters draw their initial values.
  std::shared_ptr<AdaptableLinear> k_proj, v_proj, q_proj, out_proj;
  int64_t heads;
};

struct CLIPMLP : torch::nn::Module {
  explicit CLIPMLP(const CLIPTextConfig& config);
  torch::Tensor forward(const torch::Tensor& x);

  std::shared_ptr<AdaptableLinear> fc1, fc2;
  Activation activation;
};

struct CLIPEncoderLayer : torch::nn::Module {
  explicit CLIPEncoderLayer(const CLIPTextConfig& config);
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& mask);

  bool gradient_checkpointing = false;

 private:
  torch::Tensor compute(torch::Tensor x, const torch::Tensor& mask);

  std::shared_ptr<CLIPAttention> self_attn;
  std::shared_ptr<LayerNorm> layer_norm1;
  std::shared_ptr<CLIPMLP> mlp;
  std::shared_ptr<LayerNorm> layer_norm2;
};

/// Modules and keys carry the `text_model.` prefix of Stable Diffusion's files and of LoRA files; files that
/// transformers 5 wrote lack it and load as well.
class CLIPTextModel : public torch::nn::Module {
 public:
  /// Parameters are uninitialised until load(); in eval mode. Throws FormatError, see CLIPTextConfig.
  static std::shared_ptr<CLIPTextModel> from_config(const nlohmann::json& json);
  explicit CLIPTextModel(CLIPTextConfig config);

  /// See load_weights; an old file's `position_ids` is passed over.
  void load(const WeightSource& source, torch::ScalarType dtype);

  /// ids: int64 [B, T], T at most max_position_embeddings; attention_mask: [B, T], nonzero keeps ->
  /// last hidden state after the final norm [B, T, D]. Throws UsageError when T is too long.
  torch::Tensor forward(const torch::Tensor& ids, const torch::Tensor& attention_mask = {});

  /// In training, layers then forget their inner tensors until backward.
  void enable_gradient_checkpointing();

  const CLIPTextConfig& config() const { return config_; }
  /// One row a token; more rows may be put behind the vocabulary's (textual inversion).
  Embedding& token_embeddings() { return *token_embedding; }
  int64_t token_count() const { return token_embedding->weight.size(0); }

 private:
  CLIPTextConfig config_;
  std::shared_ptr<Embedding> token_embedding, position_embedding;
  std::shared_ptr<ModuleList<CLIPEncoderLayer>> layers;
  std::shared_ptr<LayerNorm> final_layer_norm;
};

}  // namespace lorikeet
