// Configs that ask for what these models do not have are refused by name.
#include <gtest/gtest.h>

#include "core/errors.h"
#include "models/autoencoder_kl.h"
#include "models/clip_text_model.h"
#include "models/model_test_support.h"
#include "models/unet.h"

namespace lorikeet::testing {
namespace {

using nlohmann::json;

struct Refusal {
  const char* key;
  json value;
};

template <class Config>
void expect_refused(const std::string& name, const std::vector<Refusal>& refusals) {
  EXPECT_NO_THROW(Config::from_json(reference_config(name)));
  for (const auto& [key, value] : refusals) {
    auto config = reference_config(name);
    config[key] = value;
    const auto message = message_of<FormatError>([&] { Config::from_json(config); });
    EXPECT_NE(message.find("\"" + std::string(key) + "\" is " + value.dump()), std::string::npos)
        << key << " = " << value.dump() << ": " << message;
    EXPECT_NE(message.find("supported: "), std::string::npos) << message;
  }
}

TEST(ModelConfig, UNetRefusesByName) {
  expect_refused<UNetConfig>("unet_sd1", {{"_class_name", "UNet2DModel"},
                                          {"no_such_key", 1},
                                          {"sample_size", json{8, 9}},
                                          {"sample_size", 0},
                                          {"in_channels", "4"},
                                          {"in_channels", 0},
                                          {"out_channels", 0},
                                          {"center_input_sample", 1},
                                          {"flip_sin_to_cos", "yes"},
                                          {"freq_shift", "0"},
                                          {"down_block_types", json{"CrossAttnDownBlock2D", "AttnDownBlock2D"}},
                                          {"down_block_types", json{"DownBlock2D", 3}},
                                          {"down_block_types", json::array()},
                                          {"up_block_types", json{"UpBlock2D", "SimpleCrossAttnUpBlock2D"}},
                                          {"up_block_types", json{"UpBlock2D"}},
                                          {"mid_block_type", "UNetMidBlock2DSimpleCrossAttn"},
                                          {"block_out_channels", json{16}},
                                          {"block_out_channels", json{16, 30}},
                                          {"block_out_channels", 16},
                                          {"only_cross_attention", json{true}},
                                          {"layers_per_block", json{1, 2, 3}},
                                          {"layers_per_block", 0},
                                          {"downsample_padding", -1},
                                          {"dropout", 0.1},
                                          {"act_fn", "relu"},
                                          {"norm_num_groups", nullptr},
                                          {"norm_num_groups", 0},
                                          {"norm_eps", nullptr},
                                          {"cross_attention_dim", json{12, 13}},
                                          {"cross_attention_dim", 0},
                                          {"transformer_layers_per_block", json{json{1}, json{1}}},
                                          {"transformer_layers_per_block", 0},
                                          {"reverse_transformer_layers_per_block", json{1, 1}},
                                          {"encoder_hid_dim", 8},
                                          {"encoder_hid_dim_type", "text_proj"},
                                          {"attention_head_dim", 5},
                                          {"attention_head_dim", 0},
                                          {"num_attention_heads", 4},
                                          {"dual_cross_attention", true},
                                          {"use_linear_projection", nullptr},
                                          {"class_embed_type", "other"},
                                          {"addition_embed_type", "text_time"},
                                          {"addition_time_embed_dim", 256},
                                          {"addition_embed_type_num_heads", "64"},
                                          {"num_class_embeds", 0},
                                          {"upcast_attention", "yes"},
                                          {"resnet_time_scale_shift", "ada_group"},
                                          {"resnet_skip_time_act", true},
                                          {"resnet_out_scale_factor", 2.0},
                                          {"time_embedding_type", "fourier"},
                                          {"time_embedding_dim", 0},
                                          {"time_embedding_act_fn", "tanh"},
                                          {"timestep_post_act", "tanh"},
                                          {"conv_in_kernel", 2},
                                          {"conv_out_kernel", 0},
                                          {"projection_class_embeddings_input_dim", 5},
                                          {"attention_type", "gated"},
                                          {"class_embeddings_concat", true},
                                          {"mid_block_only_cross_attention", true},
                                          {"cross_attention_norm", "layer_norm"}});
}

TEST(ModelConfig, UNetRefusesClassOptionsThatContradict) {
  auto config = reference_config("unet_class_projection");
  config["num_class_embeds"] = 3;
  EXPECT_NE(message_of<FormatError>([&] { UNetConfig::from_json(config); }).find("\"num_class_embeds\" is 3"),
            std::string::npos);
  config.erase("num_class_embeds");
  config.erase("projection_class_embeddings_input_dim");
  EXPECT_NE(message_of<FormatError>([&] {
              UNetConfig::from_json(config);
            }).find("\"projection_class_embeddings_input_dim\" is missing"),
            std::string::npos);
}

TEST(ModelConfig, UNetTakesDefaultsOfStableDiffusion1) {
  const auto config = UNetConfig::from_json(json::object());
  EXPECT_EQ(config.block_out_channels, (std::vector<int64_t>{320, 640, 1280, 1280}));
  EXPECT_EQ(config.down_has_attention, (std::vector<bool>{true, true, true, false}));
  EXPECT_EQ(config.up_has_attention, (std::vector<bool>{false, true, true, true}));
  EXPECT_EQ(config.cross_attention_dim, 1280);
  EXPECT_EQ(config.time_embed_dim, 1280);
  EXPECT_TRUE(config.has_mid_block);
}

TEST(ModelConfig, VaeRefusesByName) {
  expect_refused<VaeConfig>("vae", {{"_class_name", "VQModel"},
                                    {"no_such_key", nullptr},
                                    {"act_fn", "relu"},
                                    {"down_block_types", json{"DownEncoderBlock2D", "AttnDownEncoderBlock2D"}},
                                    {"up_block_types", json{"UpDecoderBlock2D"}},
                                    {"block_out_channels", json::array()},
                                    {"block_out_channels", json{8, 18}},
                                    {"latent_channels", 0},
                                    {"layers_per_block", 0},
                                    {"norm_num_groups", 0},
                                    {"sample_size", 1},
                                    {"shift_factor", 0.1},
                                    {"latents_mean", json{0.0}},
                                    {"latents_std", json{1.0}},
                                    {"scaling_factor", "0.18215"},
                                    {"force_upcast", nullptr},
                                    {"use_quant_conv", 1}});
}

TEST(ModelConfig, TextEncoderRefusesByName) {
  expect_refused<CLIPTextConfig>("clip_quick_gelu", {{"model_type", "t5"},
                                                     {"architectures", json{"CLIPTextModelWithProjection"}},
                                                     {"no_such_key", 0},
                                                     {"text_config", json::object()},
                                                     {"hidden_act", "gelu_new"},
                                                     {"hidden_size", 25},
                                                     {"num_hidden_layers", 0},
                                                     {"attention_dropout", 0.1},
                                                     {"dropout", 0.1},
                                                     {"vocab_size", "50"}});
}

TEST(ModelConfig, RefusesWhatIsNoObject) {
  EXPECT_NE(message_of<FormatError>([] { UNetConfig::from_json(json::array()); }).find("array, expected a JSON object"),
            std::string::npos);
}

}  // namespace
}  // namespace lorikeet::testing
