#include "models/attention.h"

#include "engine/activation_checkpoint.h"

namespace lorikeet {

Attention::Attention(int64_t query_dim, int64_t context_dim, int64_t heads, bool bias,
                     std::optional<int64_t> norm_groups)
    : heads(heads) {
  if (norm_groups) {
    group_norm = register_module("group_norm", std::make_shared<GroupNorm>(*norm_groups, query_dim, 1e-6));
  }
  to_q = register_module("to_q", std::make_shared<AdaptableLinear>(query_dim, query_dim, bias));
  to_k = register_module("to_k", std::make_shared<AdaptableLinear>(context_dim, query_dim, bias));
  to_v = register_module("to_v", std::make_shared<AdaptableLinear>(context_dim, query_dim, bias));
  to_out = register_module("to_out", std::make_shared<ModuleList<AdaptableLinear>>());
  to_out->add(query_dim, query_dim);
}

torch::Tensor Attention::forward(torch::Tensor x, const torch::Tensor& context, const torch::Tensor& bias) {
  if (group_norm) x = group_norm->forward(x.transpose(1, 2)).transpose(1, 2);
  const auto& source = context.defined() ? context : x;
  const auto batch = source.size(0);
  auto query = to_q->forward(x);
  auto key = to_k->forward(source);
  auto value = to_v->forward(source);
  const auto head_dim = key.size(-1) / heads;
  const auto split = [&](const torch::Tensor& t) { return t.view({batch, -1, heads, head_dim}).transpose(1, 2); };
  query = split(query);
  key = split(key);
  value = split(value);
  std::optional<torch::Tensor> mask;
  if (bias.defined()) mask = bias.repeat_interleave(heads, 0).view({batch, heads, -1, bias.size(-1)});
  auto hidden = torch::scaled_dot_product_attention(query, key, value, mask);
  hidden = hidden.transpose(1, 2).reshape({batch, -1, heads * head_dim}).to(query.scalar_type());
  return (*to_out)[0].forward(hidden);
}

GEGLU::GEGLU(int64_t dim, int64_t inner) {
  proj = register_module("proj", std::make_shared<AdaptableLinear>(dim, 2 * inner));
}

torch::Tensor GEGLU::forward(const torch::Tensor& x) {
  const auto parts = proj->forward(x).chunk(2, -1);
  return parts[0] * torch::gelu(parts[1]);
}

FeedForward::FeedForward(int64_t dim) {
  auto net = register_module("net", std::make_shared<torch::nn::Module>("ModuleList"));
  project_in = net->register_module("0", std::make_shared<GEGLU>(dim, 4 * dim));
  project_out = net->register_module("2", std::make_shared<AdaptableLinear>(4 * dim, dim));
}

torch::Tensor FeedForward::forward(const torch::Tensor& x) { return project_out->forward(project_in->forward(x)); }

BasicTransformerBlock::BasicTransformerBlock(const TransformerOptions& options)
    : only_cross_attention(options.only_cross_attention) {
  const auto dim = options.channels;
  const auto self_dim = only_cross_attention ? options.cross_attention_dim : dim;
  norm1 = register_module("norm1", std::make_shared<LayerNorm>(dim, 1e-5));
  attn1 = register_module("attn1", std::make_shared<Attention>(dim, self_dim, options.heads, false));
  norm2 = register_module("norm2", std::make_shared<LayerNorm>(dim, 1e-5));
  attn2 = register_module("attn2", std::make_shared<Attention>(dim, options.cross_attention_dim, options.heads, false));
  norm3 = register_module("norm3", std::make_shared<LayerNorm>(dim, 1e-5));
  ff = register_module("ff", std::make_shared<FeedForward>(dim));
}

torch::Tensor BasicTransformerBlock::forward(const torch::Tensor& x, const torch::Tensor& context,
                                             const torch::Tensor& context_bias) {
  if (!gradient_checkpointing || !is_training() || !torch::GradMode::is_enabled()) {
    return compute(x, context, context_bias);
  }
  const auto function = [this, context_bias](const std::vector<torch::Tensor>& inputs) {
    return std::vector<torch::Tensor>{compute(inputs[0], inputs[1], context_bias)};
  };
  return activation_checkpoint(function, {x, context})[0];
}

torch::Tensor BasicTransformerBlock::compute(torch::Tensor x, const torch::Tensor& context,
                                             const torch::Tensor& context_bias) {
  x = attn1->forward(norm1->forward(x), only_cross_attention ? context : torch::Tensor()) + x;
  x = attn2->forward(norm2->forward(x), context, context_bias) + x;
  return ff->forward(norm3->forward(x)) + x;
}

Transformer2DModel::Transformer2DModel(const TransformerOptions& options)
    : linear_projection(options.linear_projection) {
  const auto channels = options.channels;
  const auto projection = [&]() -> std::shared_ptr<torch::nn::Module> {
    if (options.linear_projection) return std::make_shared<AdaptableLinear>(channels, channels);
    return std::make_shared<AdaptableConv2d>(channels, channels, 1);
  };
  norm = register_module("norm", std::make_shared<GroupNorm>(options.norm_groups, channels, 1e-6));
  proj_in = register_module("proj_in", projection());
  transformer_blocks = register_module("transformer_blocks", std::make_shared<ModuleList<BasicTransformerBlock>>());
  for (int64_t i = 0; i < options.layers; ++i) transformer_blocks->add(options);
  proj_out = register_module("proj_out", projection());
}

torch::Tensor Transformer2DModel::forward(const torch::Tensor& x, const torch::Tensor& context,
                                          const torch::Tensor& context_bias) {
  const auto batch = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3);
  const auto to_tokens = [&](const torch::Tensor& t) {
    return t.permute({0, 2, 3, 1}).reshape({batch, height * width, channels});
  };
  const auto to_picture = [&](const torch::Tensor& t) {
    return t.reshape({batch, height, width, channels}).permute({0, 3, 1, 2}).contiguous();
  };
  auto hidden = norm->forward(x);
  hidden = linear_projection ? proj_in->as<AdaptableLinear>()->forward(to_tokens(hidden))
                             : to_tokens(proj_in->as<AdaptableConv2d>()->forward(hidden));
  for (const auto& block : *transformer_blocks) hidden = block->forward(hidden, context, context_bias);
  hidden = linear_projection ? to_picture(proj_out->as<AdaptableLinear>()->forward(hidden))
                             : proj_out->as<AdaptableConv2d>()->forward(to_picture(hidden));
  return hidden + x;
}

}  // namespace lorikeet
