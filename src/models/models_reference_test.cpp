// Every model against outputs of Diffusers and transformers; see tools/reference/models.py.
#include <gtest/gtest.h>

#include <fstream>

#include "core/atomic_file.h"
#include "io/weights.h"
#include "models/autoencoder_kl.h"
#include "models/clip_text_model.h"
#include "models/model_test_support.h"
#include "models/unet.h"

namespace lorikeet::testing {
namespace {

constexpr double kTolerance = 1e-5;

torch::Tensor input(const std::string& name, const std::string& argument) {
  const auto key = name + "/in/" + argument;
  return reference_tensors().contains(key) ? reference_tensors().tensor(key) : torch::Tensor();
}

void expect_output(const std::string& name, const std::string& output, const torch::Tensor& value) {
  EXPECT_LE(relative_difference(value, reference_tensors().tensor(name + "/out/" + output)), kTolerance) << output;
}

template <class Model>
std::shared_ptr<Model> filled(const std::string& name) {
  auto model = Model::from_config(reference_config(name));
  model->load(*weights_from_tensors(draw_weights(*model), "drawn"), torch::kFloat);
  return model;
}

class UNetReference : public ::testing::TestWithParam<const char*> {};
class VaeReference : public ::testing::TestWithParam<const char*> {};
class TextReference : public ::testing::TestWithParam<const char*> {};

TEST_P(UNetReference, GivesTheSameSample) {
  const std::string name = GetParam();
  torch::NoGradGuard no_grad;
  const auto sample = filled<UNet2DConditionModel>(name)->forward(
      input(name, "sample"), input(name, "timestep"), input(name, "encoder_hidden_states"), input(name, "class_labels"),
      input(name, "encoder_attention_mask"), input(name, "timestep_cond"));
  expect_output(name, "sample", sample);
}

TEST_P(VaeReference, GivesTheSameLatentsAndPictures) {
  const std::string name = GetParam();
  torch::NoGradGuard no_grad;
  auto model = filled<AutoencoderKL>(name);
  model->set_tiling(name.ends_with("tiled"));
  model->set_slicing(name.ends_with("tiled"));
  const auto latents = model->encode(input(name, "x"));
  expect_output(name, "mean", latents.mean);
  expect_output(name, "std", latents.std);
  expect_output(name, "sample", latents.sample(torch::make_generator<torch::CPUGeneratorImpl>(0)));
  EXPECT_TRUE(latents.mode().equal(latents.mean));
  expect_output(name, "decoded", model->decode(input(name, "z")));
}

TEST_P(TextReference, GivesTheSameHiddenState) {
  const std::string name = GetParam();
  torch::NoGradGuard no_grad;
  const auto hidden = filled<CLIPTextModel>(name)->forward(input(name, "input_ids"), input(name, "attention_mask"));
  expect_output(name, "last_hidden_state", hidden);
}

INSTANTIATE_TEST_SUITE_P(Models, UNetReference,
                         ::testing::Values("unet_sd1", "unet_sd2", "unet_odd_size", "unet_scale_shift_timestep_classes",
                                           "unet_class_table", "unet_no_mid_class_identity", "unet_class_projection",
                                           "unet_class_simple_projection"));
INSTANTIATE_TEST_SUITE_P(Models, VaeReference, ::testing::Values("vae", "vae_bare", "vae_tiled"));
INSTANTIATE_TEST_SUITE_P(Models, TextReference, ::testing::Values("clip_quick_gelu", "clip_gelu_masked"));

TEST(TextReference, MaskOfOnesIsNoMask) {
  torch::NoGradGuard no_grad;
  auto model = filled<CLIPTextModel>("clip_quick_gelu");
  const auto ids = input("clip_quick_gelu", "input_ids");
  EXPECT_TRUE(model->forward(ids, torch::ones_like(ids)).equal(model->forward(ids)));
}

// The contract with Stable Diffusion's files, and with PEFT, which draws initial values in this order.
template <class Model>
void expect_keys(const std::string& shape) {
  const auto model = Model::from_config(reference_config("shapes").at(shape));
  std::string keys;
  for (const auto& parameter : model->named_parameters()) {
    keys += parameter.key() + "\t[";
    for (int64_t i = 0; i < parameter.value().dim(); ++i) {
      keys += (i ? "x" : "") + std::to_string(parameter.value().size(i));
    }
    keys += "]\n";
    EXPECT_FALSE(parameter.value().requires_grad()) << parameter.key();
  }
  EXPECT_EQ(keys, read_file("tests/data/keys_" + shape + ".txt"));
}

TEST(ModelKeys, StableDiffusion15UNet) { expect_keys<UNet2DConditionModel>("sd15_unet"); }
TEST(ModelKeys, StableDiffusion21UNet) { expect_keys<UNet2DConditionModel>("sd21_unet"); }
TEST(ModelKeys, StableDiffusionVae) { expect_keys<AutoencoderKL>("sd_vae"); }
TEST(ModelKeys, StableDiffusion15TextEncoder) { expect_keys<CLIPTextModel>("sd15_text_encoder"); }
TEST(ModelKeys, StableDiffusion21TextEncoder) { expect_keys<CLIPTextModel>("sd21_text_encoder"); }

}  // namespace
}  // namespace lorikeet::testing
