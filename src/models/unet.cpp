#include "models/unet.h"

#include <cmath>

#include "core/errors.h"
#include "core/text.h"
#include "models/weight_loading.h"

namespace lorikeet {

TimestepEmbedding::TimestepEmbedding(int64_t in_channels, int64_t time_embed_dim, std::optional<Activation> post_act,
                                     std::optional<int64_t> cond_proj_dim)
    : post_act(post_act) {
  linear_1 = register_module("linear_1", std::make_shared<AdaptableLinear>(in_channels, time_embed_dim));
  if (cond_proj_dim) {
    cond_proj = register_module("cond_proj", std::make_shared<AdaptableLinear>(*cond_proj_dim, in_channels, false));
  }
  linear_2 = register_module("linear_2", std::make_shared<AdaptableLinear>(time_embed_dim, time_embed_dim));
}

torch::Tensor TimestepEmbedding::forward(torch::Tensor x, const torch::Tensor& condition) {
  if (condition.defined()) {
    if (!cond_proj) throw UsageError("timestep_cond was given, but this model has no time_cond_proj_dim");
    x = x + cond_proj->forward(condition);
  }
  x = linear_2->forward(torch::silu(linear_1->forward(x)));
  return post_act ? activate(*post_act, x) : x;
}

torch::Tensor timestep_embedding(const torch::Tensor& timesteps, int64_t dim, bool flip_sin_to_cos,
                                 double downscale_freq_shift) {
  const auto half = dim / 2;
  const auto steps = torch::arange(0, half, torch::dtype(torch::kFloat32).device(timesteps.device()));
  const auto frequencies = torch::exp(-std::log(10000.0) * steps / (static_cast<double>(half) - downscale_freq_shift));
  const auto angles = timesteps.unsqueeze(1).to(torch::kFloat32) * frequencies.unsqueeze(0);
  const auto sine = torch::sin(angles), cosine = torch::cos(angles);
  auto result = flip_sin_to_cos ? torch::cat({cosine, sine}, -1) : torch::cat({sine, cosine}, -1);
  return dim % 2 == 1 ? torch::constant_pad_nd(result, {0, 1, 0, 0}) : result;
}

std::shared_ptr<UNet2DConditionModel> UNet2DConditionModel::from_config(const nlohmann::json& json) {
  auto model = std::make_shared<UNet2DConditionModel>(UNetConfig::from_json(json));
  model->eval();
  return model;
}

UNet2DConditionModel::UNet2DConditionModel(UNetConfig config) : config_(std::move(config)) {
  const auto first = config_.block_out_channels.front();
  conv_in =
      register_module("conv_in", std::make_shared<AdaptableConv2d>(config_.in_channels, first, config_.conv_in_kernel,
                                                                   1, (config_.conv_in_kernel - 1) / 2));
  time_embedding = register_module(
      "time_embedding", std::make_shared<TimestepEmbedding>(first, config_.time_embed_dim, config_.timestep_post_act,
                                                            config_.time_cond_proj_dim));
  register_class_embedding();
  register_blocks();
  conv_norm_out =
      register_module("conv_norm_out", std::make_shared<GroupNorm>(config_.norm_num_groups, first, config_.norm_eps));
  conv_out = register_module("conv_out",
                             std::make_shared<AdaptableConv2d>(first, config_.out_channels, config_.conv_out_kernel, 1,
                                                               (config_.conv_out_kernel - 1) / 2));
}

void UNet2DConditionModel::register_class_embedding() {
  const auto width = config_.time_embed_dim, input = config_.class_embed_input_dim;
  switch (config_.class_embed_type) {
    case ClassEmbedding::kNone:
    case ClassEmbedding::kIdentity:
      return;
    case ClassEmbedding::kTable:
      class_embedding = std::make_shared<Embedding>(input, width);
      break;
    case ClassEmbedding::kTimestep:
      class_embedding = std::make_shared<TimestepEmbedding>(config_.block_out_channels.front(), width);
      break;
    case ClassEmbedding::kProjection:
      class_embedding = std::make_shared<TimestepEmbedding>(input, width);
      break;
    case ClassEmbedding::kSimpleProjection:
      class_embedding = std::make_shared<AdaptableLinear>(input, width);
      break;
  }
  register_module("class_embedding", class_embedding);
}

void UNet2DConditionModel::register_blocks() {
  const auto& channels = config_.block_out_channels;
  const auto last = channels.size() - 1;
  ResnetOptions resnet;
  resnet.temb_channels = config_.time_embed_dim * (config_.class_embeddings_concat ? 2 : 1);
  resnet.groups = config_.norm_num_groups;
  resnet.eps = config_.norm_eps;
  resnet.scale_shift = config_.scale_shift;
  const auto attention = [&](size_t block) {
    return TransformerOptions{channels[block],
                              config_.num_attention_heads[block],
                              config_.transformer_layers_per_block[block],
                              config_.cross_attention_dim,
                              config_.norm_num_groups,
                              config_.use_linear_projection,
                              config_.only_cross_attention[block]};
  };
  // Diffusers registers the empty up list before the middle: named_modules() walks down, up, mid.
  down_blocks = register_module("down_blocks", std::make_shared<ModuleList<UNetDownBlock>>());
  up_blocks = register_module("up_blocks", std::make_shared<ModuleList<UNetUpBlock>>());
  for (size_t i = 0; i <= last; ++i) {
    UNetBlockOptions options;
    options.in_channels = channels[i == 0 ? 0 : i - 1];
    options.out_channels = channels[i];
    options.layers = config_.layers_per_block[i];
    options.resample = i != last;
    options.downsample_padding = config_.downsample_padding;
    options.resnet = resnet;
    if (config_.down_has_attention[i]) options.attention = attention(i);
    down_blocks->add(options);
  }
  for (size_t i = 0; i <= last; ++i) {
    const auto block = last - i;  // its twin among the down blocks
    UNetBlockOptions options;
    options.in_channels = channels[block == 0 ? 0 : block - 1];
    options.out_channels = channels[block];
    options.previous_channels = channels[std::min(block + 1, last)];
    options.layers = config_.layers_per_block[block] + 1;
    options.resample = i != last;
    options.resnet = resnet;
    if (config_.up_has_attention[i]) options.attention = attention(block);
    up_blocks->add(options);
  }
  if (!config_.has_mid_block) return;
  resnet.output_scale_factor = config_.mid_block_scale_factor;
  auto mid_attention = attention(last);
  mid_attention.only_cross_attention = false;
  mid_block =
      register_module("mid_block", std::make_shared<UNetMidBlock2DCrossAttn>(channels[last], resnet, mid_attention));
}

void UNet2DConditionModel::load(const WeightSource& source, torch::ScalarType dtype) {
  load_weights(*this, source, dtype);
}

torch::Tensor UNet2DConditionModel::embed_class(const torch::Tensor& sample, torch::Tensor labels) {
  if (labels.defined() != (config_.class_embed_type != ClassEmbedding::kNone)) {
    throw UsageError(labels.defined() ? "class_labels were given, but this UNet has no class embedding"
                                      : "this UNet has a class embedding and needs class_labels");
  }
  switch (config_.class_embed_type) {
    case ClassEmbedding::kNone:
      return {};
    case ClassEmbedding::kIdentity:
      break;
    case ClassEmbedding::kTable:
      labels = class_embedding->as<Embedding>()->forward(labels);
      break;
    case ClassEmbedding::kTimestep:
      labels =
          timestep_embedding(labels, config_.block_out_channels.front(), config_.flip_sin_to_cos, config_.freq_shift)
              .to(sample.scalar_type());
      [[fallthrough]];
    case ClassEmbedding::kProjection:
      labels = class_embedding->as<TimestepEmbedding>()->forward(labels);
      break;
    case ClassEmbedding::kSimpleProjection:
      labels = class_embedding->as<AdaptableLinear>()->forward(labels);
      break;
  }
  return labels.to(sample.scalar_type());
}

torch::Tensor UNet2DConditionModel::embed_time(const torch::Tensor& sample, const torch::Tensor& timesteps,
                                               const torch::Tensor& class_labels, const torch::Tensor& timestep_cond) {
  const auto steps = timesteps.reshape({-1}).to(sample.device()).expand({sample.size(0)});
  const auto sines =
      timestep_embedding(steps, config_.block_out_channels.front(), config_.flip_sin_to_cos, config_.freq_shift);
  auto embedding = time_embedding->forward(sines.to(sample.scalar_type()), timestep_cond);
  if (const auto label = embed_class(sample, class_labels); label.defined()) {
    embedding = config_.class_embeddings_concat ? torch::cat({embedding, label}, -1) : embedding + label;
  }
  return config_.time_embedding_act_fn ? activate(*config_.time_embedding_act_fn, embedding) : embedding;
}

torch::Tensor UNet2DConditionModel::forward(const torch::Tensor& input, const torch::Tensor& timesteps,
                                            const torch::Tensor& encoder_hidden_states,
                                            const torch::Tensor& class_labels,
                                            const torch::Tensor& encoder_attention_mask,
                                            const torch::Tensor& timestep_cond) {
  const auto up_factor = int64_t{1} << (up_blocks->size() - 1);
  const bool force_upsample_size = input.size(-1) % up_factor != 0 || input.size(-2) % up_factor != 0;
  UNetConditions conditions;
  conditions.encoder_hidden_states = encoder_hidden_states;
  if (encoder_attention_mask.defined()) {
    conditions.encoder_bias = ((1 - encoder_attention_mask.to(input.scalar_type())) * -10000.0).unsqueeze(1);
  }
  auto sample = config_.center_input_sample ? 2 * input - 1.0 : input;
  conditions.temb = embed_time(sample, timesteps, class_labels, timestep_cond);

  sample = conv_in->forward(sample);
  std::vector<torch::Tensor> skips{sample};
  for (const auto& block : *down_blocks) sample = block->forward(sample, conditions, skips);
  if (mid_block) sample = mid_block->forward(sample, conditions);
  for (const auto& block : *up_blocks) sample = block->forward(sample, conditions, skips, force_upsample_size);
  return conv_out->forward(torch::silu(conv_norm_out->forward(sample)));
}

void UNet2DConditionModel::enable_gradient_checkpointing() {
  for (const auto& module : modules(/*include_self=*/false)) {
    if (auto* resnet = module->as<ResnetBlock2D>()) resnet->gradient_checkpointing = true;
    if (auto* block = module->as<BasicTransformerBlock>()) block->gradient_checkpointing = true;
  }
}

}  // namespace lorikeet
