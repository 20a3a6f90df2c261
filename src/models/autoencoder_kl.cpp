#include "models/autoencoder_kl.h"

#include <array>
#include <functional>
#include <utility>

#include "models/config_reader.h"
#include "models/weight_loading.h"

namespace lorikeet {
namespace {

using Slice = torch::indexing::Slice;
using Tiles = std::vector<std::vector<torch::Tensor>>;
using TileFunction = std::function<torch::Tensor(const torch::Tensor&)>;

// Fades the first `extent` rows (dim 2) or columns (dim 3) of `tile` in from the last ones of `before`, in place.
void blend(const torch::Tensor& before, const torch::Tensor& tile, int64_t extent, int64_t dim) {
  extent = std::min({before.size(dim), tile.size(dim), extent});
  for (int64_t i = 0; i < extent; ++i) {
    const double weight = static_cast<double>(i) / static_cast<double>(extent);
    auto line = tile.select(dim, i);
    line.copy_(before.select(dim, before.size(dim) - extent + i) * (1 - weight) + line * weight);
  }
}

// Tiles of `input_size`, three quarters of it apart, through `function`; results blend over a quarter.
torch::Tensor tiled(const torch::Tensor& x, int64_t input_size, int64_t output_size, const TileFunction& function) {
  const auto step = static_cast<int64_t>(static_cast<double>(input_size) * 0.75);
  const auto extent = static_cast<int64_t>(static_cast<double>(output_size) * 0.25);
  const auto limit = output_size - extent;
  Tiles rows;
  for (int64_t y = 0; y < x.size(2); y += step) {
    rows.emplace_back();
    for (int64_t left = 0; left < x.size(3); left += step) {
      rows.back().push_back(
          function(x.index({Slice(), Slice(), Slice(y, y + input_size), Slice(left, left + input_size)})));
    }
  }
  std::vector<torch::Tensor> result_rows;
  for (size_t i = 0; i < rows.size(); ++i) {
    std::vector<torch::Tensor> row;
    for (size_t j = 0; j < rows[i].size(); ++j) {
      if (i > 0) blend(rows[i - 1][j], rows[i][j], extent, 2);
      if (j > 0) blend(rows[i][j - 1], rows[i][j], extent, 3);
      row.push_back(rows[i][j].index({Slice(), Slice(), Slice(0, limit), Slice(0, limit)}));
    }
    result_rows.push_back(torch::cat(row, 3));
  }
  return torch::cat(result_rows, 2);
}

torch::Tensor one_by_one(const torch::Tensor& x, const TileFunction& function) {
  std::vector<torch::Tensor> results;
  for (const auto& one : x.split(1)) results.push_back(function(one));
  return torch::cat(results);
}

std::optional<std::string> current_key(const std::string& key) {
  constexpr std::array<std::pair<const char*, const char*>, 4> kRenames = {
      {{".query.", ".to_q."}, {".key.", ".to_k."}, {".value.", ".to_v."}, {".proj_attn.", ".to_out.0."}}};
  if (key.find("mid_block.attentions.") == std::string::npos) return key;
  for (const auto& [old_name, name] : kRenames) {
    if (const auto at = key.find(old_name); at != std::string::npos) {
      return key.substr(0, at) + name + key.substr(at + std::string(old_name).size());
    }
  }
  return key;
}

}  // namespace

VaeConfig VaeConfig::from_json(const nlohmann::json& json) {
  ConfigReader reader(json, "AutoencoderKL");
  reader.require("_class_name", {"AutoencoderKL"});
  VaeConfig config;
  config.in_channels = reader.integer("in_channels", 3);
  config.out_channels = reader.integer("out_channels", 3);
  config.latent_channels = reader.integer("latent_channels", 4);
  config.block_out_channels = reader.integers("block_out_channels", {64});
  config.layers_per_block = reader.integer("layers_per_block", 1);
  config.norm_num_groups = reader.integer("norm_num_groups", 32);
  config.sample_size = reader.integer("sample_size", 32);
  config.scaling_factor = reader.number("scaling_factor", 0.18215);
  config.force_upcast = reader.boolean("force_upcast", true);
  config.use_quant_conv = reader.boolean("use_quant_conv", true);
  config.use_post_quant_conv = reader.boolean("use_post_quant_conv", true);
  config.mid_block_add_attention = reader.boolean("mid_block_add_attention", true);
  reader.require("act_fn", {"silu", "swish"});
  for (const auto* key : {"shift_factor", "latents_mean", "latents_std"}) reader.require(key, {nullptr});
  const auto blocks = config.block_out_channels.size();
  if (blocks == 0) reader.refuse("block_out_channels", "at least one block");
  for (const std::string key : {"down_block_types", "up_block_types"}) {
    const std::string supported = key == "down_block_types" ? "DownEncoderBlock2D" : "UpDecoderBlock2D";
    const auto types = reader.texts(key, {supported});
    for (const auto& type : types) {
      if (type != supported) reader.refuse(key, supported);
    }
    if (types.size() != blocks) reader.refuse(key, "as many as block_out_channels");
  }
  reader.finish();
  for (const auto* key : {"in_channels", "out_channels", "latent_channels", "layers_per_block", "norm_num_groups"}) {
    if (reader.integer(key, 1) < 1) reader.refuse(key, "at least 1");
  }
  if (config.sample_size < config.downsampling_factor()) reader.refuse("sample_size", "at least one latent");
  for (auto channels : config.block_out_channels) {
    if (channels < 1 || channels % config.norm_num_groups != 0) {
      reader.refuse("block_out_channels", "multiples of norm_num_groups");
    }
  }
  return config;
}

LatentDistribution::LatentDistribution(const torch::Tensor& moments) {
  const auto parts = moments.chunk(2, 1);
  mean = parts[0];
  logvar = parts[1].clamp(-30.0, 20.0);
  std = torch::exp(0.5 * logvar);
}

torch::Tensor LatentDistribution::sample(torch::Generator generator) const {
  const auto options = mean.options().device(generator.device());
  return mean + std * torch::randn(mean.sizes(), generator, options).to(mean.device());
}

std::shared_ptr<AutoencoderKL> AutoencoderKL::from_config(const nlohmann::json& json) {
  auto model = std::make_shared<AutoencoderKL>(VaeConfig::from_json(json));
  model->eval();
  return model;
}

AutoencoderKL::AutoencoderKL(VaeConfig config) : config_(std::move(config)) {
  const auto latents = config_.latent_channels;
  encoder = register_module("encoder", std::make_shared<VaeEncoder>(config_.in_channels, latents, config_));
  decoder = register_module("decoder", std::make_shared<VaeDecoder>(latents, config_.out_channels, config_));
  if (config_.use_quant_conv) {
    quant_conv = register_module("quant_conv", std::make_shared<AdaptableConv2d>(2 * latents, 2 * latents, 1));
  }
  if (config_.use_post_quant_conv) {
    post_quant_conv = register_module("post_quant_conv", std::make_shared<AdaptableConv2d>(latents, latents, 1));
  }
}

void AutoencoderKL::load(const WeightSource& source, torch::ScalarType dtype) {
  load_weights(*this, source, dtype, current_key);
}

bool AutoencoderKL::needs_upcast() const {
  return config_.force_upcast && parameters().front().scalar_type() == torch::kHalf;
}

torch::Tensor AutoencoderKL::encode_tile(const torch::Tensor& x) {
  auto moments = encoder->forward(x);
  return quant_conv ? quant_conv->forward(moments) : moments;
}

torch::Tensor AutoencoderKL::decode_tile(const torch::Tensor& z) {
  return decoder->forward(post_quant_conv ? post_quant_conv->forward(z) : z);
}

torch::Tensor AutoencoderKL::encode_moments(const torch::Tensor& x) {
  const auto size = config_.sample_size;
  if (!tiling_ || (x.size(2) <= size && x.size(3) <= size)) return encode_tile(x);
  return tiled(x, size, size / config_.downsampling_factor(), [&](const auto& tile) { return encode_tile(tile); });
}

torch::Tensor AutoencoderKL::decode_picture(const torch::Tensor& z) {
  const auto size = config_.sample_size, latents = size / config_.downsampling_factor();
  if (!tiling_ || (z.size(2) <= latents && z.size(3) <= latents)) return decode_tile(z);
  return tiled(z, latents, size, [&](const auto& tile) { return decode_tile(tile); });
}

LatentDistribution AutoencoderKL::encode(const torch::Tensor& x) {
  if (!slicing_ || x.size(0) < 2) return LatentDistribution(encode_moments(x));
  return LatentDistribution(one_by_one(x, [&](const auto& one) { return encode_moments(one); }));
}

torch::Tensor AutoencoderKL::decode(const torch::Tensor& z) {
  if (!slicing_ || z.size(0) < 2) return decode_picture(z);
  return one_by_one(z, [&](const auto& one) { return decode_picture(one); });
}

}  // namespace lorikeet
