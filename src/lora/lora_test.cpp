#include <gtest/gtest.h>

#include <cmath>

#include "core/errors.h"
#include "core/text.h"
#include "engine/random.h"
#include "lora/fuse.h"
#include "lora/inject.h"
#include "models/layers.h"

namespace lorikeet {
namespace {

/// Named layers, as a model has them.
struct TwoLayers : torch::nn::Module {
  TwoLayers() {
    to_q = register_module("to_q", std::make_shared<AdaptableLinear>(6, 4));
    conv = register_module("conv", std::make_shared<AdaptableConv2d>(3, 5, 3, 2, 1));
    norm = register_module("norm", std::make_shared<LayerNorm>(6, 1e-5));
    auto generator = make_generator(1);
    torch::NoGradGuard no_grad;
    for (auto& parameter : parameters()) parameter.normal_(0, 1, generator);
    for (auto& parameter : parameters()) parameter.set_requires_grad(false);
  }
  std::shared_ptr<AdaptableLinear> to_q;
  std::shared_ptr<AdaptableConv2d> conv;
  std::shared_ptr<LayerNorm> norm;
};

LoraLayers inject(torch::nn::Module& model, std::vector<std::string> targets, double dropout = 0) {
  auto generator = make_generator(2);
  LoraConfig config;
  config.rank = 2;
  config.dropout = dropout;
  config.targets = std::move(targets);
  auto layers = inject_lora(model, config, generator, generator);
  torch::NoGradGuard no_grad;
  for (auto& [path, adapter] : layers)
    adapter->values.factors["up"].normal_(0, 1, generator);  // as if it had learned something
  return layers;
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
    return std::pair{change_rank(layers.at(0).second->values), change_rank(layers.at(1).second->values)};  // to_q, conv
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
  for (const auto& [path, adapter] : inject_config(model, config)) EXPECT_EQ(adapter->values.strength, 1) << path;
  config.alpha = 2;
  const auto layers = inject_config(model, config);
  EXPECT_EQ(layers[0].second->values.strength, 0.5);
  EXPECT_EQ(layers[1].second->values.strength, 0.25);
}

TEST(Inject, RankStabilizedStrengthIsAlphaOverTheRoot) {
  TwoLayers model;
  LoraConfig config;
  config.rank = 9;
  config.rank_pattern = {{"conv", 2}};
  config.targets = {"*"};
  config.rank_stabilized = true;
  auto layers = inject_config(model, config);
  EXPECT_DOUBLE_EQ(layers[0].second->values.strength, 3) << "without an alpha: 9 / sqrt(9)";
  config.alpha = 6;
  layers = inject_config(model, config);
  EXPECT_DOUBLE_EQ(layers[0].second->values.strength, 2);
  EXPECT_DOUBLE_EQ(layers[1].second->values.strength, 6 / std::sqrt(2.0));
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

/// A change of every kind for a layer: the linear one [4, 6], the convolution [5, 3, 3, 3].
std::vector<LayerChange> changes_of_every_kind() {
  auto generator = make_generator(7);
  const auto draw = [&](std::vector<int64_t> shape) { return torch::randn(shape, generator); };
  using Factors = std::map<std::string, torch::Tensor>;
  std::vector<LayerChange> all;
  const auto add = [&](const char* path, ChangeKind kind, Factors factors, double strength, bool inside = false) {
    all.push_back({path, kind, std::move(factors), strength, inside});
  };
  const auto lora = [&] { return Factors{{"down", draw({2, 6})}, {"up", draw({4, 2})}}; };
  const auto conv = [&] { return Factors{{"down", draw({2, 3, 3, 3})}, {"up", draw({5, 2, 1, 1})}}; };
  const auto with = [&](Factors factors, const char* role, std::vector<int64_t> shape) {
    factors[role] = draw(std::move(shape)).abs() + 0.5;
    return factors;
  };
  add("to_q", ChangeKind::kLora, lora(), 0.5);
  add("to_q", ChangeKind::kLora, with(lora(), "bias", {4}), 2);
  add("conv", ChangeKind::kLora, with(conv(), "bias", {5}), 2);
  add("conv", ChangeKind::kLora,
      {{"down", draw({2, 3, 1, 1})}, {"mid", draw({2, 2, 3, 3})}, {"up", draw({5, 2, 1, 1})}}, 1);
  add("to_q", ChangeKind::kLoha,
      {{"w1_a", draw({4, 2})}, {"w1_b", draw({2, 6})}, {"w2_a", draw({4, 2})}, {"w2_b", draw({2, 6})}}, 0.5);
  add("conv", ChangeKind::kLoha,
      {{"w1_a", draw({2, 5})},
       {"w1_b", draw({2, 3})},
       {"t1", draw({2, 2, 3, 3})},
       {"w2_a", draw({2, 5})},
       {"w2_b", draw({2, 3})},
       {"t2", draw({2, 2, 3, 3})}},
      0.5);
  add("to_q", ChangeKind::kLokr, {{"w1", draw({2, 3})}, {"w2_a", draw({2, 1})}, {"w2_b", draw({1, 2})}}, 3);
  add("conv", ChangeKind::kLokr, {{"w1_a", draw({5, 2})}, {"w1_b", draw({2, 1})}, {"w2", draw({1, 3, 3, 3})}}, 1);
  add("to_q", ChangeKind::kFull, {{"diff", draw({4, 6})}}, 1);
  add("norm", ChangeKind::kFull, {{"diff", draw({6})}, {"bias", draw({6})}}, 1);
  for (const bool inside : {false, true}) {
    add("to_q", ChangeKind::kLora, with(lora(), "magnitude", {4, 1}), 0.5, inside);
    add("to_q", ChangeKind::kLora, with(lora(), "magnitude", {1, 6}), 0.5, inside);
    add("conv", ChangeKind::kLora, with(conv(), "magnitude", {5, 1, 1, 1}), 2, inside);
    add("conv", ChangeKind::kLora, with(conv(), "magnitude", {1, 3, 1, 1}), 2, inside);
  }
  return all;
}

TEST(Adapter, EveryKindIsLiveWhatItIsFusedAndNothingAtScaleZero) {
  for (const auto& change : changes_of_every_kind()) {
    TwoLayers model;
    const AdaptableLayers layers(model);
    auto& layer = *layers.find(change.path);
    const auto x = layer.weight.dim() == 4 ? torch::randn({2, 3, 8, 8}) : torch::randn({3, 6});
    const auto base = layer.forward(x);
    const auto weight = layer.weight.clone(), bias = layer.bias.clone();
    std::vector<UnmatchedChange> unmatched;
    const auto attached = attach_lora(model, {change}, torch::kFloat, unmatched);
    const std::string what =
        lorikeet::str(kind_name(change.kind), " of ", change.path, " with ", change.factors.size(), " factors");
    ASSERT_TRUE(unmatched.empty()) << what << ": " << unmatched.front().reason;
    for (const double scale : {0.3, 1.0}) {
      set_lora_scale(attached, scale);
      const auto live = layer.forward(x);
      EXPECT_FALSE(torch::allclose(live, base)) << what;
      const auto originals = fuse_lora(model);
      EXPECT_TRUE(torch::allclose(layer.forward(x), live, 1e-5, 1e-5)) << what << " at " << scale;
      unfuse_lora(model, originals);
      EXPECT_TRUE(torch::equal(layer.weight, weight) && torch::equal(layer.bias, bias)) << what;
      EXPECT_TRUE(torch::equal(layer.forward(x), live)) << what;
    }
    set_lora_scale(attached, 0);
    EXPECT_TRUE(torch::equal(layer.forward(x), base)) << what;
    fuse_lora(model);
    EXPECT_TRUE(torch::equal(layer.weight, weight)) << what;
  }
}

TEST(Attach, TellsWhatFindsNoPlace) {
  TwoLayers model;
  const auto down = torch::ones({2, 6}), up = torch::ones({4, 2});
  const auto reason = [&](const char* path, std::map<std::string, torch::Tensor> factors,
                          ChangeKind kind = ChangeKind::kLora) {
    std::vector<UnmatchedChange> unmatched;
    EXPECT_TRUE(attach_lora(model, {{path, kind, std::move(factors)}}, torch::kFloat, unmatched).empty());
    return unmatched.size() == 1 ? unmatched[0].reason : "";
  };
  EXPECT_NE(reason("to_z", {{"down", down}, {"up", up}}).find("no such layer"), std::string::npos);
  for (const auto& wrong :
       std::vector<std::map<std::string, torch::Tensor>>{{{"down", torch::zeros({2, 7})}, {"up", up}},
                                                         {{"down", down}, {"up", torch::zeros({5, 2})}},
                                                         {{"down", down}, {"up", torch::zeros({4, 3})}},
                                                         {{"down", torch::zeros({0, 6})}, {"up", torch::zeros({4, 0})}},
                                                         {{"down", down}},
                                                         {}}) {
    EXPECT_NE(reason("to_q", wrong).find("to_q"), std::string::npos);
  }
  EXPECT_NE(reason("to_q", {{"down", down}, {"up", up}, {"magnitude", torch::ones({5, 1})}}).find("lengths"),
            std::string::npos);
  EXPECT_NE(reason("to_q", {{"down", down}, {"up", up}, {"bias", torch::ones({5})}}).find("bias"), std::string::npos);
  EXPECT_NE(reason("to_q", {{"w1", torch::ones({3, 3})}, {"w2", torch::ones({2, 2})}}, ChangeKind::kLokr).find("lokr"),
            std::string::npos);
}

TEST(Attach, TakesLinearFactorsForOneByOneConvolutionsAndTheOtherWayRound) {
  TwoLayers model;
  std::vector<UnmatchedChange> unmatched;
  const auto down = torch::ones({2, 6, 1, 1}), up = torch::ones({4, 2, 1, 1}), lengths = torch::ones({4, 1, 1, 1});
  const auto layers =
      attach_lora(model, {{"to_q", ChangeKind::kLora, {{"down", down}, {"up", up}, {"magnitude", lengths}}}},
                  torch::kFloat, unmatched);
  ASSERT_EQ(layers.size(), 1u);
  EXPECT_EQ(layers[0].second->values.get("down").dim(), 2);
  EXPECT_EQ(layers[0].second->values.get("magnitude").dim(), 2);
}

TEST(Attach, SpreadsOutFlattenedKernels) {
  TwoLayers model;
  const auto kernels = torch::randn({2, 3, 3, 3}), up = torch::randn({5, 2});
  const auto picture = torch::randn({2, 3, 8, 8});
  std::vector<UnmatchedChange> unmatched;
  const auto with = [&](const torch::Tensor& down) {
    const auto layers =
        attach_lora(model, {{"conv", ChangeKind::kLora, {{"down", down}, {"up", up}}}}, torch::kFloat, unmatched);
    const auto output = model.conv->forward(picture);
    detach_lora(model, layers);
    return output;
  };
  EXPECT_TRUE(torch::equal(with(kernels.flatten(1)), with(kernels)));
  EXPECT_TRUE(unmatched.empty());
}

/// As many numbers as the weight has, but not what its layer computes with.
TEST(Attach, RefusesFactorsOfAnotherForm) {
  TwoLayers model;
  const auto refused = [&](const char* path, ChangeKind kind, std::map<std::string, torch::Tensor> factors) {
    std::vector<UnmatchedChange> unmatched;
    EXPECT_TRUE(attach_lora(model, {{path, kind, std::move(factors)}}, torch::kFloat, unmatched).empty());
    return unmatched.size() == 1 && unmatched[0].reason.find("does not make the layer's weight") != std::string::npos;
  };
  const auto ones = [](std::vector<int64_t> sizes) { return torch::ones(sizes); };
  const auto lora = ChangeKind::kLora, loha = ChangeKind::kLoha, lokr = ChangeKind::kLokr;
  EXPECT_TRUE(refused("norm", lora, {{"down", ones({2, 1})}, {"up", ones({6, 2})}})) << "a norm has no rank";
  EXPECT_TRUE(refused("to_q", lora, {{"down", ones({2, 3, 2, 1})}, {"up", ones({4, 2})}}));
  EXPECT_TRUE(refused("to_q", lora, {{"down", ones({4, 6})}, {"up", ones({4, 2, 2, 1})}}));
  EXPECT_TRUE(refused("conv", lora, {{"down", ones({2, 27, 1, 1})}, {"up", ones({5, 2, 1, 1})}}));
  EXPECT_TRUE(refused("conv", lora, {{"down", ones({2, 3, 9, 1})}, {"up", ones({5, 2, 1, 1})}}));
  EXPECT_TRUE(refused("conv", lora, {{"down", ones({2, 27})}, {"mid", ones({2, 2, 1, 1})}, {"up", ones({5, 2})}}));
  EXPECT_TRUE(refused("conv", lora, {{"down", ones({2, 3, 3, 3})}, {"mid", ones({2, 2, 3, 3})}, {"up", ones({5, 2})}}));
  EXPECT_TRUE(refused("conv", lokr, {{"w1", ones({1, 1})}, {"w2", ones({5, 3, 9, 1})}}));
  EXPECT_TRUE(refused("conv", lokr, {{"w1", ones({1, 1, 3, 3})}, {"w2", ones({5, 3})}}));
  std::map<std::string, torch::Tensor> tucker;
  for (const char* n : {"1", "2"}) {
    tucker[std::string("w") + n + "_a"] = ones({2, 5});
    tucker[std::string("w") + n + "_b"] = ones({2, 3});
    tucker[std::string("t") + n] = ones({2, 2, 9, 1});
  }
  EXPECT_TRUE(refused("conv", loha, tucker));
}

/// Sizes that no file can back with numbers, but an empty or expanded tensor can have.
TEST(Attach, RefusesSizesWhoseProductIsBeyondAnyNumber) {
  const int64_t huge = int64_t{1} << 40, more = int64_t{1} << 62;
  const auto weight = torch::ones({4, 6});
  const auto check = [&](ChangeKind kind, std::map<std::string, torch::Tensor> factors) {
    const LayerChange change{"to_q", kind, std::move(factors)};
    EXPECT_THROW(check_fits(change, weight, {}), FormatError);
    EXPECT_THROW(weight_product(change, weight.sizes()), FormatError);
  };
  const auto wide = torch::ones({1, 1}).expand({huge, 2}), high = torch::ones({1, 1}).expand({2, huge});
  check(ChangeKind::kLokr, {{"w1", wide}, {"w2", wide}});
  check(ChangeKind::kLokr, {{"w1", high}, {"w2", high}});
  check(ChangeKind::kLora, {{"up", wide}, {"down", high}});
  check(ChangeKind::kLora, {{"up", torch::ones({more, 0})}, {"down", torch::ones({0, more})}});
  check(ChangeKind::kFull, {{"diff", torch::ones({more, 0})}});
  check(ChangeKind::kFull, {{"diff", torch::ones({1, 1, 1}).expand({4, huge, 1 << 18})}});
  EXPECT_THROW(weight_product({"to_q", ChangeKind::kFull, {{"bias", torch::ones({4})}}}, {4, 0}), FormatError);
}

TEST(Attach, SeveralAddUpAndComeOutOneByOne) {
  TwoLayers model;
  const auto x = torch::randn({2, 6});
  const auto base = model.to_q->forward(x);
  const auto changes = changes_of_every_kind();
  std::vector<UnmatchedChange> unmatched;
  const auto first = attach_lora(model, {changes[0]}, torch::kFloat, unmatched);
  const auto with_first = model.to_q->forward(x);
  const auto second = attach_lora(model, {changes[4]}, torch::kFloat, unmatched);
  const auto with_both = model.to_q->forward(x);
  set_lora_scale(first, 0);
  const auto with_second = model.to_q->forward(x);
  set_lora_scale(first, 1);
  EXPECT_TRUE(torch::allclose(with_both - base, (with_first - base) + (with_second - base), 1e-5, 1e-5));
  detach_lora(model, second);
  EXPECT_TRUE(torch::equal(model.to_q->forward(x), with_first));
  detach_lora(model, first);
  EXPECT_TRUE(torch::equal(model.to_q->forward(x), base));
}

TEST(Fuse, EqualsTheLiveAdapterAndUnfuseRestoresEveryBit) {
  TwoLayers model;
  const auto x = torch::randn({2, 6}), picture = torch::randn({2, 3, 8, 8});
  const auto layers = inject(model, {"*"});
  set_lora_scale(layers, 0.7);
  const auto weight = model.conv->weight.clone();
  const auto linear = model.to_q->forward(x), conv = model.conv->forward(picture);
  const auto originals = fuse_lora(model);
  EXPECT_TRUE(torch::allclose(model.to_q->forward(x), linear, 1e-5, 1e-5));
  EXPECT_TRUE(torch::allclose(model.conv->forward(picture), conv, 1e-5, 1e-5));
  unfuse_lora(model, originals);
  EXPECT_TRUE(torch::equal(model.conv->weight, weight));
  EXPECT_TRUE(torch::equal(model.conv->forward(picture), conv));
}

}  // namespace
}  // namespace lorikeet
