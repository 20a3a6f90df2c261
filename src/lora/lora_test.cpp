#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "core/errors.h"
#include "engine/random.h"
#include "io/safetensors.h"
#include "lora/fuse.h"
#include "lora/lora_file.h"
#include "models/adaptable.h"

namespace lorikeet {
namespace {

/// Two named layers, as a model has them.
struct TwoLayers : torch::nn::Module {
  TwoLayers() {
    to_q = register_module("to_q", std::make_shared<AdaptableLinear>(6, 4));
    conv = register_module("conv", std::make_shared<AdaptableConv2d>(3, 5, 3, 2, 1));
    auto generator = make_generator(1);
    torch::NoGradGuard no_grad;
    for (auto& parameter : parameters()) parameter.normal_(0, 1, generator);
    for (auto& parameter : parameters()) parameter.set_requires_grad(false);
  }
  std::shared_ptr<AdaptableLinear> to_q;
  std::shared_ptr<AdaptableConv2d> conv;
};

LoraLayers inject(torch::nn::Module& model, std::vector<std::string> targets, double dropout = 0) {
  auto generator = make_generator(2);
  LoraConfig config;
  config.rank = 2;
  config.dropout = dropout;
  config.targets = std::move(targets);
  auto layers = inject_lora(model, config, generator, generator);
  torch::NoGradGuard no_grad;
  for (auto& [path, adapter] : layers) adapter->up.normal_(0, 1, generator);  // as if it had learned something
  return layers;
}

std::filesystem::path temporary(const std::string& name) {
  const auto folder = std::filesystem::temp_directory_path() / ("lorikeet-lora-test-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  return folder / name;
}

TEST(Inject, AnswersToNameEndsAndPatterns) {
  TwoLayers model;
  EXPECT_EQ(inject(model, {"to_q"}).size(), 1u);
  EXPECT_EQ(inject(model, {"*"}).size(), 2u);
  EXPECT_EQ(inject(model, {"c?nv"}).front().first, "conv");
  EXPECT_THROW(inject(model, {"q"}), UsageError) << "a target ends at a dot, not inside a name";
  EXPECT_THROW(inject(model, {"to_q", "to_k"}), UsageError);
}

TEST(Inject, RefusesImpossibleConfigs) {
  TwoLayers model;
  auto generator = make_generator(2);
  LoraConfig config;
  config.targets = {"to_q"};
  config.rank = 0;
  EXPECT_THROW(inject_lora(model, config, generator, generator), UsageError);
  config.rank = 4;
  config.dropout = 1.0;
  EXPECT_THROW(inject_lora(model, config, generator, generator), UsageError);
}

LoraLayers inject_config(torch::nn::Module& model, const LoraConfig& config) {
  auto generator = make_generator(2);
  return inject_lora(model, config, generator, generator);
}

TEST(Inject, RankPatternGivesTheFirstRankThatMeansTheLayer) {
  TwoLayers model;
  LoraConfig config;
  config.rank = 3;
  config.targets = {"*"};
  const auto ranks = [&](std::vector<std::pair<std::string, int64_t>> pattern) {
    config.rank_pattern = std::move(pattern);
    const auto layers = inject_config(model, config);
    return std::pair{layers.at(0).second->rank(), layers.at(1).second->rank()};  // to_q, conv
  };
  EXPECT_EQ(ranks({}), (std::pair<int64_t, int64_t>{3, 3}));
  EXPECT_EQ(ranks({{"conv", 7}}), (std::pair<int64_t, int64_t>{3, 7}));
  EXPECT_EQ(ranks({{"to_?", 1}, {"*", 5}}), (std::pair<int64_t, int64_t>{1, 5}));
  EXPECT_EQ(ranks({{"*", 5}, {"to_q", 1}}), (std::pair<int64_t, int64_t>{5, 5})) << "the first counts";
  EXPECT_EQ(ranks({{"q", 9}}), (std::pair<int64_t, int64_t>{3, 3})) << "a name ends at a dot";
}

TEST(Inject, AlphaIsTheRankUnlessGiven) {
  TwoLayers model;
  LoraConfig config;
  config.rank = 4;
  config.rank_pattern = {{"conv", 8}};
  config.targets = {"*"};
  for (const auto& [path, adapter] : inject_config(model, config)) EXPECT_EQ(adapter->strength(), 1) << path;
  config.alpha = 2;
  const auto layers = inject_config(model, config);
  EXPECT_EQ(layers[0].second->strength(), 0.5);
  EXPECT_EQ(layers[1].second->strength(), 0.25);
}

TEST(Inject, RankStabilizedStrengthIsAlphaOverTheRoot) {
  TwoLayers model;
  LoraConfig config;
  config.rank = 9;
  config.rank_pattern = {{"conv", 2}};
  config.targets = {"*"};
  config.rank_stabilized = true;
  auto layers = inject_config(model, config);
  EXPECT_DOUBLE_EQ(layers[0].second->strength(), 3) << "without an alpha: 9 / sqrt(9)";
  config.alpha = 6;
  layers = inject_config(model, config);
  EXPECT_DOUBLE_EQ(layers[0].second->strength(), 2);
  EXPECT_DOUBLE_EQ(layers[1].second->strength(), 6 / std::sqrt(2.0));
  // Written and read back, it is as strong.
  torch::NoGradGuard no_grad;
  auto generator = make_generator(3);
  for (auto& [path, adapter] : layers) adapter->up.normal_(0, 1, generator);
  const auto path = temporary("stabilized.safetensors");
  write_lora_file(path, layers, {});
  TwoLayers other;
  attach_lora_pairs(other, read_lora_file(path).unet);
  const auto x = torch::randn({2, 6}), picture = torch::randn({1, 3, 8, 8});
  EXPECT_TRUE(torch::allclose(other.to_q->forward(x), model.to_q->forward(x), 1e-5, 1e-5));
  EXPECT_TRUE(torch::allclose(other.conv->forward(picture), model.conv->forward(picture), 1e-5, 1e-5));
}

TEST(Inject, RefusesRanksThatNoPatternCanGive) {
  TwoLayers model;
  LoraConfig config;
  config.targets = {"to_q"};
  for (const int64_t rank : {int64_t{0}, int64_t{-1}, int64_t{1} << 40}) {
    config.rank_pattern = {{"to_q", 4}, {"conv", rank}};
    try {
      inject_config(model, config);
      ADD_FAILURE() << rank;
    } catch (const UsageError& error) {
      EXPECT_NE(std::string(error.what()).find("--rank_pattern: conv=" + std::to_string(rank)), std::string::npos)
          << error.what();
    }
  }
}

TEST(Inject, FreshAdapterChangesNothing) {
  TwoLayers model;
  const auto x = torch::ones({1, 6});
  const auto before = model.to_q->forward(x);
  auto generator = make_generator(2);
  LoraConfig config;
  config.targets = {"to_q"};
  inject_lora(model, config, generator, generator);
  EXPECT_TRUE(torch::equal(model.to_q->forward(x), before));
}

TEST(Adapter, ScaleZeroIsTheBaseBitForBit) {
  TwoLayers model;
  const auto x = torch::randn({2, 6}), picture = torch::randn({2, 3, 8, 8});
  const auto linear = model.to_q->forward(x), conv = model.conv->forward(picture);
  const auto layers = inject(model, {"*"});
  EXPECT_FALSE(torch::allclose(model.to_q->forward(x), linear));
  set_lora_scale(layers, 0);
  EXPECT_TRUE(torch::equal(model.to_q->forward(x), linear));
  EXPECT_TRUE(torch::equal(model.conv->forward(picture), conv));
}

TEST(Adapter, DropoutWorksInTrainingOnly) {
  TwoLayers model;
  const auto layers = inject(model, {"to_q"}, 0.5);
  const auto x = torch::randn({64, 6});
  const auto calm = model.to_q->forward(x);
  EXPECT_TRUE(torch::equal(calm, model.to_q->forward(x)));
  set_lora_training(layers, true);
  EXPECT_FALSE(torch::equal(model.to_q->forward(x), model.to_q->forward(x)));
}

TEST(Fuse, EqualsTheLiveAdapterAndUnfuseRestoresEveryBit) {
  TwoLayers model;
  const auto x = torch::randn({2, 6}), picture = torch::randn({2, 3, 8, 8});
  const auto layers = inject(model, {"*"});
  set_lora_scale(layers, 0.7);
  const auto weight = model.conv->weight.clone();
  const auto linear = model.to_q->forward(x), conv = model.conv->forward(picture);
  const auto originals = fuse_lora(model, layers);
  EXPECT_TRUE(torch::allclose(model.to_q->forward(x), linear, 1e-5, 1e-5));
  EXPECT_TRUE(torch::allclose(model.conv->forward(picture), conv, 1e-5, 1e-5));
  unfuse_lora(model, layers, originals);
  EXPECT_TRUE(torch::equal(model.conv->weight, weight));
  EXPECT_TRUE(torch::equal(model.conv->forward(picture), conv));
}

TEST(LoraFile, ReadsBackWhatItWrites) {
  TwoLayers model;
  const auto layers = inject(model, {"*"});
  const auto path = temporary("round.safetensors");
  write_lora_file(path, layers, {});
  const auto file = read_lora_file(path);
  ASSERT_EQ(file.unet.size(), 2u);
  EXPECT_TRUE(file.text_encoder.empty());
  TwoLayers other;
  attach_lora_pairs(other, file.unet);
  const auto x = torch::randn({2, 6});
  EXPECT_TRUE(torch::equal(other.to_q->forward(x), model.to_q->forward(x)));
}

TEST(LoraFile, MultipliesAnotherStrengthIn) {
  TwoLayers model;
  const auto layers = inject(model, {"to_q"});
  layers[0].second->alpha = 6;  // rank 2: strength 3
  const auto path = temporary("alpha.safetensors");
  write_lora_file(path, layers, {});
  TwoLayers other;
  attach_lora_pairs(other, read_lora_file(path).unet);
  const auto x = torch::randn({2, 6});
  EXPECT_TRUE(torch::allclose(other.to_q->forward(x), model.to_q->forward(x), 1e-6, 1e-6));
}

TEST(LoraFile, ReadsPeftKeysAndItsMetadata) {
  const auto path = temporary("peft.safetensors");
  write_safetensors(path,
                    {{"unet.to_q.lora_A.weight", torch::ones({2, 6})},
                     {"unet.to_q.lora_B.weight", torch::ones({4, 2})},
                     {"text_encoder.encoder.layers.0.q_proj.lora_A.weight", torch::ones({2, 6})},
                     {"text_encoder.encoder.layers.0.q_proj.lora_B.weight", torch::ones({4, 2})}},
                    {{"lora_adapter_metadata", R"({"unet.r": 2, "unet.lora_alpha": 8})"}});
  const auto file = read_lora_file(path);
  ASSERT_EQ(file.unet.size(), 1u);
  EXPECT_EQ(file.unet[0].alpha, 8);
  ASSERT_EQ(file.text_encoder.size(), 1u);
  EXPECT_EQ(file.text_encoder[0].path, "text_model.encoder.layers.0.q_proj");
  EXPECT_EQ(file.text_encoder[0].alpha, 2);
}

void expect_refused(const NamedTensors& tensors, const std::string& said, const std::string& metadata = "") {
  const auto path = temporary("bad.safetensors");
  std::map<std::string, std::string> entries;
  if (!metadata.empty()) entries["lora_adapter_metadata"] = metadata;
  write_safetensors(path, tensors, entries);
  TwoLayers model;
  try {
    attach_lora_pairs(model, read_lora_file(path).unet);
    ADD_FAILURE() << "expected a FormatError that says " << said;
  } catch (const FormatError& error) {
    EXPECT_NE(std::string(error.what()).find(said), std::string::npos) << error.what();
  }
}

TEST(LoraFile, RefusesWhatItCannotUse) {
  const auto down = torch::ones({2, 6}), up = torch::ones({4, 2});
  const std::string q = "unet.to_q.lora";
  expect_refused({{"lora_unet_to_q.lora_down.weight", down}}, "lora_unet_to_q.lora_down.weight");
  expect_refused({{q + ".down.weight", down}}, "only its down half");
  expect_refused({{q + ".down.weight", down}, {q + ".up.weight", torch::ones({4, 3})}}, "do not fit");
  expect_refused({{q + ".down.weight", torch::ones({6})}, {q + ".up.weight", up}}, "2 or 4 dimensions");
  expect_refused({{"unet.to_z.lora.down.weight", down}, {"unet.to_z.lora.up.weight", up}}, "to_z");
  expect_refused({{"unet.to_q.lora_A.weight", down}, {"unet.to_q.lora_B.weight", up}}, "use_dora",
                 R"({"unet.use_dora": true})");
  expect_refused({{q + ".down.weight", down}, {q + ".up.weight", up}, {"unet.to_q.lora_A.weight", down}},
                 "two spellings");
  expect_refused({{"unet.lora.down.weight", down}, {"unet.lora.up.weight", up}}, "neither Diffusers");
}

TEST(LoraFile, RefusesFactorsOfNoUse) {
  const auto refused = [](const torch::Tensor& down, const torch::Tensor& up, const std::string& said) {
    expect_refused({{"unet.to_q.lora.down.weight", down}, {"unet.to_q.lora.up.weight", up}}, said);
  };
  const auto down = torch::ones({2, 6}), up = torch::ones({4, 2});
  refused(torch::zeros({0, 6}), torch::zeros({4, 0}), "do not fit");
  refused(torch::zeros({2, 0, 1, 1}), torch::zeros({0, 2, 1, 1}), "do not fit");
  refused(torch::zeros({2, 7}), up, "do not fit");
  refused(down, torch::zeros({5, 2}), "do not fit");
  refused(torch::ones({2, 6, 1, 1, 1}), torch::ones({4, 2, 1, 1, 1}), "2 or 4 dimensions");
  refused(torch::ones({}), torch::ones({}), "2 or 4 dimensions");
  refused(down.to(torch::kLong), up.to(torch::kLong), "floating-point");
  refused(down.to(torch::kBool), up.to(torch::kBool), "floating-point");
  refused(down * std::nan(""), up, "not finite");
  refused(down, up / 0.0, "not finite");
}

TEST(LoraFile, RefusesAnAlphaThatIsNoNumber) {
  const NamedTensors tensors = {{"unet.to_q.lora.down.weight", torch::ones({2, 6})},
                                {"unet.to_q.lora.up.weight", torch::ones({4, 2})}};
  expect_refused(tensors, "\"8\"", R"({"unet.lora_alpha": "8"})");
  expect_refused(tensors, "[]", R"({"unet.alpha_pattern": {"to_q": []}})");
  expect_refused(tensors, "no JSON object", R"({"unet.lora_alpha": 1e999})");
  expect_refused(tensors, "no JSON object", "{");
  EXPECT_THROW(read_lora_file(temporary("nothing-here.safetensors")), FileError);
}

}  // namespace
}  // namespace lorikeet
