#include "models/clip_text_model.h"

#include <cmath>

#include "core/errors.h"
#include "core/text.h"
#include "engine/activation_checkpoint.h"
#include "models/config_reader.h"
#include "models/weight_loading.h"

namespace lorikeet {

CLIPTextConfig CLIPTextConfig::from_json(const nlohmann::json& json) {
  ConfigReader reader(json, "CLIPTextModel");
  reader.require("architectures", {nlohmann::json::array({"CLIPTextModel"}), nullptr});
  reader.require("model_type", {"clip_text_model"});
  CLIPTextConfig config;
  config.vocab_size = reader.integer("vocab_size", 49408);
  config.hidden_size = reader.integer("hidden_size", 512);
  config.intermediate_size = reader.integer("intermediate_size", 2048);
  config.num_hidden_layers = reader.integer("num_hidden_layers", 12);
  config.num_attention_heads = reader.integer("num_attention_heads", 8);
  config.max_position_embeddings = reader.integer("max_position_embeddings", 77);
  config.layer_norm_eps = reader.number("layer_norm_eps", 1e-5);
  reader.require("hidden_act", {"quick_gelu", "gelu", "silu", "swish", "mish", "relu"});
  config.hidden_act = parse_activation(reader.text("hidden_act", "quick_gelu"));
  reader.require("attention_dropout", {0.0, nullptr});
  reader.require("dropout", {0.0});
  // They steer initialisation, pooling, projection or the form of outputs, none of which is used here.
  for (const auto* key : {"projection_dim", "initializer_range", "initializer_factor", "bos_token_id", "eos_token_id",
                          "pad_token_id", "torch_dtype", "dtype", "transformers_version", "return_dict",
                          "output_hidden_states", "output_attentions", "tie_word_embeddings", "use_cache"}) {
    reader.ignore(key);
  }
  reader.finish();
  for (const auto* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "max_position_embeddings"}) {
    if (reader.integer(key, 1) < 1) reader.refuse(key, "at least 1");
  }
  if (config.hidden_size % config.num_attention_heads != 0) {
    reader.refuse("hidden_size", str("a multiple of num_attention_heads, which is ", config.num_attention_heads));
  }
  return config;
}

CLIPAttention::CLIPAttention(const CLIPTextConfig& config) : heads(config.num_attention_heads) {
  const auto width = config.hidden_size;
  k_proj = register_module("k_proj", std::make_shared<AdaptableLinear>(width, width));
  v_proj = register_module("v_proj", std::make_shared<AdaptableLinear>(width, width));
  q_proj = register_module("q_proj", std::make_shared<AdaptableLinear>(width, width));
  out_proj = register_module("out_proj", std::make_shared<AdaptableLinear>(width, width));
}

torch::Tensor CLIPAttention::forward(const torch::Tensor& x, const torch::Tensor& mask) {
  const auto batch = x.size(0), length = x.size(1), head_dim = x.size(2) / heads;
  const auto split = [&](const torch::Tensor& t) { return t.view({batch, length, -1, head_dim}).transpose(1, 2); };
  const auto query = split(q_proj->forward(x));
  const auto key = split(k_proj->forward(x));
  const auto value = split(v_proj->forward(x));
  std::optional<torch::Tensor> attn_mask;
  if (mask.defined()) attn_mask = mask;
  const bool causal = length > 1 && !mask.defined();
  auto hidden = torch::scaled_dot_product_attention(query, key, value, attn_mask, 0.0, causal,
                                                    std::pow(static_cast<double>(head_dim), -0.5));
  return out_proj->forward(hidden.transpose(1, 2).contiguous().reshape({batch, length, -1}));
}

CLIPMLP::CLIPMLP(const CLIPTextConfig& config) : activation(config.hidden_act) {
  fc1 = register_module("fc1", std::make_shared<AdaptableLinear>(config.hidden_size, config.intermediate_size));
  fc2 = register_module("fc2", std::make_shared<AdaptableLinear>(config.intermediate_size, config.hidden_size));
}

torch::Tensor CLIPMLP::forward(const torch::Tensor& x) { return fc2->forward(activate(activation, fc1->forward(x))); }

CLIPEncoderLayer::CLIPEncoderLayer(const CLIPTextConfig& config) {
  self_attn = register_module("self_attn", std::make_shared<CLIPAttention>(config));
  layer_norm1 = register_module("layer_norm1", std::make_shared<LayerNorm>(config.hidden_size, config.layer_norm_eps));
  mlp = register_module("mlp", std::make_shared<CLIPMLP>(config));
  layer_norm2 = register_module("layer_norm2", std::make_shared<LayerNorm>(config.hidden_size, config.layer_norm_eps));
}

torch::Tensor CLIPEncoderLayer::forward(const torch::Tensor& x, const torch::Tensor& mask) {
  if (!gradient_checkpointing || !is_training() || !torch::GradMode::is_enabled()) return compute(x, mask);
  const auto function = [this, mask](const std::vector<torch::Tensor>& inputs) {
    return std::vector<torch::Tensor>{compute(inputs[0], mask)};
  };
  return activation_checkpoint(function, {x})[0];
}

torch::Tensor CLIPEncoderLayer::compute(torch::Tensor x, const torch::Tensor& mask) {
  x = x + self_attn->forward(layer_norm1->forward(x), mask);
  return x + mlp->forward(layer_norm2->forward(x));
}

std::shared_ptr<CLIPTextModel> CLIPTextModel::from_config(const nlohmann::json& json) {
  auto model = std::make_shared<CLIPTextModel>(CLIPTextConfig::from_json(json));
  model->eval();
  return model;
}

CLIPTextModel::CLIPTextModel(CLIPTextConfig config) : config_(config) {
  const auto width = config_.hidden_size;
  auto text_model = register_module("text_model", std::make_shared<torch::nn::Module>("CLIPTextTransformer"));
  auto embeddings = text_model->register_module("embeddings", std::make_shared<torch::nn::Module>("Embeddings"));
  token_embedding =
      embeddings->register_module("token_embedding", std::make_shared<Embedding>(config_.vocab_size, width));
  position_embedding = embeddings->register_module("position_embedding",
                                                   std::make_shared<Embedding>(config_.max_position_embeddings, width));
  auto encoder = text_model->register_module("encoder", std::make_shared<torch::nn::Module>("CLIPEncoder"));
  layers = encoder->register_module("layers", std::make_shared<ModuleList<CLIPEncoderLayer>>());
  for (int64_t i = 0; i < config_.num_hidden_layers; ++i) layers->add(config_);
  final_layer_norm =
      text_model->register_module("final_layer_norm", std::make_shared<LayerNorm>(width, config_.layer_norm_eps));
}

void CLIPTextModel::load(const WeightSource& source, torch::ScalarType dtype) {
  load_weights(*this, source, dtype, [](const std::string& key) -> std::optional<std::string> {
    if (key.ends_with("embeddings.position_ids")) return std::nullopt;
    return key.starts_with("text_model.") ? key : "text_model." + key;
  });
}

torch::Tensor CLIPTextModel::forward(const torch::Tensor& ids, const torch::Tensor& attention_mask) {
  const auto length = ids.size(-1);
  if (length > config_.max_position_embeddings) {
    throw UsageError(
        str("a text of ", length, " tokens, but the text encoder takes at most ", config_.max_position_embeddings));
  }
  const auto positions = torch::arange(length, ids.options()).unsqueeze(0);
  auto hidden = token_embedding->forward(ids) + position_embedding->forward(positions);
  torch::Tensor mask;
  // transformers builds no mask where nothing is masked: then the faster, causal form of the attention runs.
  if (attention_mask.defined() && !attention_mask.to(torch::kBool).all().item<bool>()) {
    const auto keep = attention_mask.to(hidden.device(), torch::kBool).unsqueeze(1).unsqueeze(1);
    const auto causal = torch::ones({length, length}, keep.options()).tril();
    mask = torch::logical_and(causal, keep);
  }
  for (const auto& layer : *layers) hidden = layer->forward(hidden, mask);
  return final_layer_norm->forward(hidden);
}

void CLIPTextModel::enable_gradient_checkpointing() {
  for (const auto& layer : *layers) layer->gradient_checkpointing = true;
}

}  // namespace lorikeet
