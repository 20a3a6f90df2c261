#include "models/unet.h"

#include <gtest/gtest.h>

#include "core/errors.h"
#include "models/clip_text_model.h"
#include "models/model_test_support.h"

namespace lorikeet::testing {
namespace {

// Scales the layer's output; stands in for what src/lora puts there.
struct ScalingAdapter : LayerAdapter {
  torch::Tensor scale = torch::ones({1}).set_requires_grad(true);
  torch::Tensor change(const AdaptableLayer&, const torch::Tensor&, const torch::Tensor& output) override {
    return output * scale - output;
  }
};

template <class Model>
std::shared_ptr<Model> filled(const std::string& name) {
  auto model = Model::from_config(reference_config(name));
  model->load(*weights_from_tensors(draw_weights(*model), "drawn"), torch::kFloat);
  return model;
}

torch::Tensor input(const std::string& name) { return reference_tensors().tensor("unet_sd1/in/" + name); }

torch::Tensor run(UNet2DConditionModel& model) {
  return model.forward(input("sample"), input("timestep"), input("encoder_hidden_states"));
}

// Fills every slot of a model; the adapters by dotted path.
std::map<std::string, std::shared_ptr<ScalingAdapter>> adapt(torch::nn::Module& model) {
  std::map<std::string, std::shared_ptr<ScalingAdapter>> adapters;
  for (const auto& module : model.named_modules()) {
    auto* layer = module.value()->as<AdaptableLayer>();
    if (!layer || layer->weight.dim() < 2) continue;
    auto adapter = std::make_shared<ScalingAdapter>();
    layer->adapters = {adapter};
    adapters[module.key()] = adapter;
  }
  return adapters;
}

template <class Model, class Forward>
void expect_checkpointing_changes_no_bit(Model& model, const Forward& forward) {
  const auto adapters = adapt(model);
  model.train();
  const auto plain = forward();
  plain.square().sum().backward();
  std::map<std::string, torch::Tensor> gradients;
  for (const auto& [path, adapter] : adapters) {
    gradients[path] = adapter->scale.grad().clone();
    EXPECT_FALSE(gradients[path].equal(torch::zeros({1}))) << path;
    adapter->scale.mutable_grad().reset();
  }
  model.enable_gradient_checkpointing();
  const auto checkpointed = forward();
  EXPECT_TRUE(checkpointed.equal(plain));
  checkpointed.square().sum().backward();
  for (const auto& [path, adapter] : adapters) EXPECT_TRUE(adapter->scale.grad().equal(gradients[path])) << path;
}

TEST(UNet, GradientCheckpointingChangesNoBit) {
  auto model = filled<UNet2DConditionModel>("unet_sd1");
  expect_checkpointing_changes_no_bit(*model, [&] { return run(*model); });
}

TEST(ClipTextModel, GradientCheckpointingChangesNoBit) {
  auto model = filled<CLIPTextModel>("clip_quick_gelu");
  const auto ids = reference_tensors().tensor("clip_quick_gelu/in/input_ids");
  expect_checkpointing_changes_no_bit(*model, [&] { return model->forward(ids); });
}

TEST(UNet, EveryLinearAndConvolutionHasASlotUnderItsKey) {
  auto model = filled<UNet2DConditionModel>("unet_sd1");
  const auto adapters = adapt(*model);
  size_t layers = 0;
  for (const auto& parameter : model->named_parameters()) {
    const auto& name = parameter.key();
    if (!name.ends_with(".weight") || parameter.value().dim() < 2) continue;
    ++layers;
    EXPECT_TRUE(adapters.contains(name.substr(0, name.size() - 7))) << name;
  }
  EXPECT_EQ(adapters.size(), layers);
  EXPECT_TRUE(adapters.contains("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"));
}

TEST(UNet, TakesTimestepsInEveryShape) {
  torch::NoGradGuard no_grad;
  auto model = filled<UNet2DConditionModel>("unet_sd1");
  const auto forward = [&](const torch::Tensor& timestep) {
    return model->forward(input("sample"), timestep, input("encoder_hidden_states"));
  };
  const auto expected = forward(torch::tensor({500, 500}));
  EXPECT_TRUE(forward(torch::tensor(500)).equal(expected));
  EXPECT_TRUE(forward(torch::tensor({500})).equal(expected));
  EXPECT_TRUE(forward(torch::tensor(500.0, torch::kDouble)).equal(expected));
}

TEST(UNet, SaysWhenClassLabelsAreMissingOrNotWanted) {
  auto plain = filled<UNet2DConditionModel>("unet_sd1");
  auto classes = filled<UNet2DConditionModel>("unet_class_table");
  EXPECT_NE(message_of<UsageError>([&] { run(*classes); }).find("needs class_labels"), std::string::npos);
  const auto message = message_of<UsageError>([&] {
    plain->forward(input("sample"), input("timestep"), input("encoder_hidden_states"), torch::tensor({1, 2}));
  });
  EXPECT_NE(message.find("no class embedding"), std::string::npos) << message;
  EXPECT_THROW(
      plain->forward(input("sample"), input("timestep"), input("encoder_hidden_states"), {}, {}, torch::zeros({2, 4})),
      UsageError);
}

TEST(ClipTextModel, RefusesATextThatIsTooLong) {
  auto model = filled<CLIPTextModel>("clip_quick_gelu");
  const auto message = message_of<UsageError>([&] { model->forward(torch::zeros({1, 13}, torch::kInt64)); });
  EXPECT_NE(message.find("13 tokens"), std::string::npos) << message;
  EXPECT_NE(message.find("at most 12"), std::string::npos) << message;
}

}  // namespace
}  // namespace lorikeet::testing
