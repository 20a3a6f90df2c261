#include "models/weight_loading.h"

#include <gtest/gtest.h>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "models/autoencoder_kl.h"
#include "models/clip_text_model.h"
#include "models/model_test_support.h"
#include "models/unet.h"

namespace lorikeet::testing {
namespace {

NamedTensors renamed(const NamedTensors& weights, const std::vector<std::pair<std::string, std::string>>& pairs) {
  NamedTensors result;
  for (auto [name, tensor] : weights) {
    for (const auto& [from, to] : pairs) {
      if (const auto at = name.find(from); at != std::string::npos) name.replace(at, from.size(), to);
    }
    result.emplace_back(name, tensor);
  }
  return result;
}

template <class Model>
std::shared_ptr<Model> loaded(const std::string& name, NamedTensors weights) {
  auto model = Model::from_config(reference_config(name));
  model->load(*weights_from_tensors(std::move(weights), "memory"), torch::kFloat);
  return model;
}

std::string load_error(NamedTensors weights) {
  return message_of<FormatError>([&] { loaded<UNet2DConditionModel>("unet_sd1", std::move(weights)); });
}

NamedTensors unet_weights() { return draw_weights(*UNet2DConditionModel::from_config(reference_config("unet_sd1"))); }

void expect_same_parameters(const torch::nn::Module& a, const torch::nn::Module& b) {
  const auto left = a.named_parameters(), right = b.named_parameters();
  ASSERT_EQ(left.size(), right.size());
  for (const auto& parameter : left) EXPECT_TRUE(parameter.value().equal(right[parameter.key()])) << parameter.key();
}

TEST(WeightLoading, SharesTensorsThatNeedNoCastAndFreezesAll) {
  const auto weights = unet_weights();
  const auto model = loaded<UNet2DConditionModel>("unet_sd1", weights);
  const auto parameters = model->named_parameters();
  for (const auto& [name, tensor] : weights) EXPECT_EQ(parameters[name].data_ptr(), tensor.data_ptr()) << name;
  for (const auto& parameter : parameters) EXPECT_FALSE(parameter.value().requires_grad());
  EXPECT_FALSE(model->is_training());
}

TEST(WeightLoading, CastsToTheDtypeAskedFor) {
  auto model = UNet2DConditionModel::from_config(reference_config("unet_sd1"));
  const auto weights = unet_weights();
  model->load(*weights_from_tensors(weights, "memory"), torch::kBFloat16);
  const auto parameters = model->named_parameters();
  for (const auto& [name, tensor] : weights) EXPECT_TRUE(parameters[name].equal(tensor.to(torch::kBFloat16)));
}

TEST(WeightLoading, NamesMissingUnexpectedAndMisshapedKeys) {
  auto weights = renamed(unet_weights(), {{"conv_in.weight", "conv_inn.weight"}});
  for (auto& [name, tensor] : weights) {
    if (name == "conv_out.bias") tensor = torch::zeros({5});
  }
  const auto message = load_error(weights);
  EXPECT_NE(message.find("memory does not fit its config"), std::string::npos) << message;
  EXPECT_NE(message.find("1 missing: conv_in.weight"), std::string::npos) << message;
  EXPECT_NE(message.find("1 unexpected: conv_inn.weight"), std::string::npos) << message;
  EXPECT_NE(message.find("conv_out.bias is [5] where the config asks for [4]"), std::string::npos) << message;
}

TEST(WeightLoading, ShowsNoControlCharactersOfAFile) {
  const auto message = load_error(renamed(unet_weights(), {{"conv_in.weight", "conv\x1b[2J"}}));
  EXPECT_NE(message.find("1 unexpected: 'conv\\x1b[2J'"), std::string::npos) << message;
}

TEST(WeightLoading, ShortensLongLists) {
  EXPECT_NE(load_error({}).find(", and "), std::string::npos);
  EXPECT_NE(load_error({}).find(" more"), std::string::npos);
}

TEST(WeightLoading, RefusesIntegerWeights) {
  auto weights = unet_weights();
  for (auto& [name, tensor] : weights) {
    if (name == "conv_out.bias") tensor = torch::zeros({4}, torch::kInt64);
  }
  EXPECT_NE(load_error(weights).find("conv_out.bias"), std::string::npos);
}

TEST(WeightLoading, ChangesNothingWhenAKeyIsMissing) {
  auto model = loaded<UNet2DConditionModel>("unet_sd1", unet_weights());
  const auto before = model->named_parameters()["conv_in.weight"].clone();
  auto weights = draw_weights(*model, 5);
  weights.pop_back();
  EXPECT_THROW(model->load(*weights_from_tensors(weights, "memory"), torch::kFloat), FormatError);
  EXPECT_TRUE(model->named_parameters()["conv_in.weight"].equal(before));
}

TEST(WeightLoading, TextEncoderTakesBothNamingsAndPassesOverPositionIds) {
  const auto weights = draw_weights(*CLIPTextModel::from_config(reference_config("clip_quick_gelu")));
  ASSERT_TRUE(weights[0].first.starts_with("text_model."));
  auto bare = renamed(weights, {{"text_model.", ""}});
  auto old = weights;
  bare.emplace_back("embeddings.position_ids", torch::arange(12).unsqueeze(0));
  old.emplace_back("text_model.embeddings.position_ids", torch::arange(12).unsqueeze(0));
  const auto reference = loaded<CLIPTextModel>("clip_quick_gelu", weights);
  expect_same_parameters(*reference, *loaded<CLIPTextModel>("clip_quick_gelu", bare));
  expect_same_parameters(*reference, *loaded<CLIPTextModel>("clip_quick_gelu", old));
}

TEST(WeightLoading, TextEncoderRefusesAProjection) {
  auto weights = draw_weights(*CLIPTextModel::from_config(reference_config("clip_quick_gelu")));
  weights.emplace_back("text_projection.weight", torch::zeros({8, 24}));
  const auto message = message_of<FormatError>([&] { loaded<CLIPTextModel>("clip_quick_gelu", weights); });
  EXPECT_NE(message.find("1 unexpected: text_projection.weight"), std::string::npos) << message;
}

TEST(WeightLoading, VaeTakesOldAttentionKeys) {
  const auto weights = draw_weights(*AutoencoderKL::from_config(reference_config("vae")));
  const auto old = renamed(weights, {{"attentions.0.to_q", "attentions.0.query"},
                                     {"attentions.0.to_k", "attentions.0.key"},
                                     {"attentions.0.to_v", "attentions.0.value"},
                                     {"attentions.0.to_out.0", "attentions.0.proj_attn"}});
  size_t changed = 0;
  for (size_t i = 0; i < old.size(); ++i) changed += old[i].first != weights[i].first;
  ASSERT_EQ(changed, 16U);
  expect_same_parameters(*loaded<AutoencoderKL>("vae", weights), *loaded<AutoencoderKL>("vae", old));
}

TEST(WeightLoading, VaeInHalfPrecisionAsksForAnUpcast) {
  auto model = AutoencoderKL::from_config(reference_config("vae"));
  const auto source = weights_from_tensors(draw_weights(*model), "memory");
  model->load(*source, torch::kHalf);
  EXPECT_TRUE(model->needs_upcast());
  model->load(*source, torch::kBFloat16);
  EXPECT_FALSE(model->needs_upcast());
  auto config = reference_config("vae");
  config["force_upcast"] = false;
  auto relaxed = AutoencoderKL::from_config(config);
  relaxed->load(*source, torch::kHalf);
  EXPECT_FALSE(relaxed->needs_upcast());
}

TEST(WeightLoading, LoadsTheEmbeddedBaseModel) {
  torch::NoGradGuard no_grad;
  const std::filesystem::path base = "models/lorikeet-base";
  const auto config = [&](const char* part) { return nlohmann::json::parse(read_file(base / part / "config.json")); };
  auto text = CLIPTextModel::from_config(config("text_encoder"));
  text->load(*open_weights(base / "text_encoder", "model"), torch::kFloat);
  auto unet = UNet2DConditionModel::from_config(config("unet"));
  unet->load(*open_weights(base / "unet", "diffusion_pytorch_model"), torch::kFloat);
  auto vae = AutoencoderKL::from_config(config("vae"));
  vae->load(*open_weights(base / "vae", "diffusion_pytorch_model"), torch::kFloat);
  EXPECT_EQ(unet->config().sample_size, 16);
  EXPECT_EQ(vae->config().downsampling_factor(), 4);
  const auto& reference = reference_tensors();
  const auto hidden = text->forward(reference.tensor("base/in/input_ids"));
  const auto sample = unet->forward(reference.tensor("base/in/sample"), torch::tensor(500), hidden);
  EXPECT_LE(relative_difference(hidden.mean(-1), reference.tensor("base/out/hidden_mean")), 1e-5);
  EXPECT_LE(relative_difference(sample, reference.tensor("base/out/sample")), 1e-5);
  EXPECT_LE(relative_difference(vae->decode(sample).mean(1), reference.tensor("base/out/decoded_mean")), 1e-5);
}

}  // namespace
}  // namespace lorikeet::testing
