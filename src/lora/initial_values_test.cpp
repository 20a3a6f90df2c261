#include "lora/initial_values.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/text.h"
#include "engine/random.h"
#include "io/safetensors.h"
#include "lora/inject.h"
#include "lora/pissa.h"

namespace lorikeet {
namespace {

/// One adaptable layer under a name, as in a model.
struct OneLayer : torch::nn::Module {
  explicit OneLayer(std::shared_ptr<AdaptableLayer> made) : layer(register_module("layer", std::move(made))) {
    auto generator = make_generator(1);
    torch::NoGradGuard no_grad;
    for (auto& parameter : parameters()) parameter.normal_(0, 1, generator).set_requires_grad(false);
  }
  std::shared_ptr<AdaptableLayer> layer;
};

std::shared_ptr<AdaptableLayer> linear(int64_t in, int64_t out) { return std::make_shared<AdaptableLinear>(in, out); }
std::shared_ptr<AdaptableLayer> conv(int64_t in, int64_t out, int64_t kernel = 3) {
  return std::make_shared<AdaptableConv2d>(in, out, kernel, 2, kernel / 2);
}

std::shared_ptr<LoraAdapter> adapt(OneLayer& model, LoraConfig config, uint64_t seed = 3) {
  auto generator = make_generator(seed);
  config.targets = {"layer"};
  return inject_lora(model, config, generator, generator).at(0).second;
}

LoraConfig config_of(LoraAlgorithm algorithm, int64_t rank) {
  LoraConfig config;
  config.algorithm = algorithm;
  config.rank = rank;
  return config;
}

/// Relative to the largest value.
double distance(const torch::Tensor& ours, const torch::Tensor& theirs) {
  return ((ours - theirs).abs().max() / theirs.abs().max()).item<double>();
}

torch::Tensor product(const std::map<std::string, torch::Tensor>& factors) {
  return torch::mm(factors.at("up").detach().flatten(1), factors.at("down").detach().flatten(1));
}

constexpr LoraAlgorithm kAll[] = {LoraAlgorithm::kLora, LoraAlgorithm::kLocon, LoraAlgorithm::kLoha,
                                  LoraAlgorithm::kLokr, LoraAlgorithm::kDora,  LoraAlgorithm::kPissa};

/// LyCORIS' and PEFT's own layers, from the same seed (tools/reference/lora_algorithms.py).
class LayerTrace : public testing::TestWithParam<size_t> {
 protected:
  static const nlohmann::json& cases() {
    static const auto traces = nlohmann::json::parse(read_file("tests/data/lora_algorithms.json"));
    return traces.at("cases");
  }
  LayerTrace() : file_(SafetensorsFile::open("tests/data/lora_algorithms.safetensors")) {}

  torch::Tensor number(const std::string& name) const { return file_.tensor(name).clone(); }
  /// The trace's factors that are called "INDEX.`when`.ROLE".
  std::map<std::string, torch::Tensor> factors(const std::string& when) const {
    std::map<std::string, torch::Tensor> found;
    const auto prefix = str(GetParam(), ".", when, ".");
    for (const auto& name : file_.names()) {
      if (name.starts_with(prefix)) found[name.substr(prefix.size())] = file_.tensor(name).clone();
    }
    return found;
  }

  SafetensorsFile file_;
};

TEST_P(LayerTrace, IsFollowed) {
  ASSERT_EQ(cases().size(), 16u);
  const auto& trace = cases().at(GetParam());
  const auto kind = trace.at("layer").get<std::string>();
  auto config = config_of(parse_lora_algorithm(trace.at("algorithm")), trace.at("rank"));
  config.alpha = trace.at("alpha").get<double>();
  config.rank_stabilized = trace.value("rank_stabilized", false);
  config.lokr_factor = trace.value("lokr_factor", -1);
  config.dropout = trace.value("dropout", 0.0);
  OneLayer model(kind == "linear" ? linear(12, 20) : conv(6, 8));
  {
    torch::NoGradGuard no_grad;
    model.layer->weight.copy_(number(kind + ".weight"));
    model.layer->bias.copy_(number(kind + ".bias"));
  }
  auto adapter = adapt(model, config, 5);
  adapter->training = true;
  auto& ours = adapter->values.factors;
  const auto first = factors("first"), last = factors("last");
  ASSERT_EQ(ours.size(), first.size());
  const bool pissa = config.algorithm == LoraAlgorithm::kPissa;
  for (const auto& [role, theirs] : first) {
    ASSERT_EQ(ours.at(role).sizes(), theirs.sizes()) << role;
    if (pissa) continue;  // a direction's sign is the machine's to choose
    // The same draws: torch's kernels for other processors round them otherwise.
    EXPECT_TRUE(torch::equal(ours.at(role), theirs) || distance(ours.at(role), theirs) < 1e-6) << role;
  }
  if (pissa) {
    EXPECT_LT(distance(product(ours), product(first)), 1e-5);
  }
  for (const double expected : trace.at("losses")) {
    const auto loss = (model.layer->forward(number(kind + ".inputs")) - number(kind + ".target")).square().mean();
    EXPECT_NEAR(loss.item<double>() / expected, 1, 1e-5);
    loss.backward();
    torch::NoGradGuard no_grad;
    for (auto& [role, factor] : ours) {
      factor.sub_(factor.grad(), trace.at("rate").get<double>());
      factor.mutable_grad().reset();
    }
  }
  if (pissa) {
    EXPECT_LT(distance(product(ours), product(last)), 1e-5);
    return;
  }
  for (const auto& [role, theirs] : last) EXPECT_LT(distance(ours.at(role).detach(), theirs), 1e-5) << role;
}

INSTANTIATE_TEST_SUITE_P(Cases, LayerTrace, testing::Range(size_t{0}, size_t{16}));

TEST(InitialValues, ChangeNothingYet) {
  torch::manual_seed(0);
  for (const auto algorithm : kAll) {
    for (const bool is_conv : {false, true}) {
      OneLayer model(is_conv ? conv(6, 8) : linear(6, 8));
      const auto x = is_conv ? torch::randn({2, 6, 5, 5}) : torch::randn({3, 6});
      const auto own = model.layer->forward(x), weight = model.layer->weight.clone();
      const auto adapter = adapt(model, config_of(algorithm, 2));
      const auto adapted = model.layer->forward(x);
      if (algorithm == LoraAlgorithm::kPissa) {
        EXPECT_LT(distance(adapted.detach(), own), 1e-6);
        EXPECT_GT(distance(model.layer->weight, weight), 1e-2) << "its principal part is the adapter's";
      } else {
        EXPECT_TRUE(torch::equal(adapted, own)) << static_cast<int>(algorithm) << is_conv;
        EXPECT_TRUE(torch::equal(model.layer->weight, weight));
      }
      EXPECT_TRUE(adapted.requires_grad());
      const auto change = change_of_base(*adapter);
      EXPECT_LT(weight_change(change, weight, 1).abs().max().item<double>(), 2e-6) << static_cast<int>(algorithm);
      EXPECT_NO_THROW(check_fits(change, weight, model.layer->bias));
    }
  }
}

/// Against central differences of the loss, in double precision; DoRA's lengths count as constants in its gradient.
TEST(InitialValues, GradientsAreTheDifferencesOfTheLoss) {
  torch::manual_seed(0);
  for (const auto algorithm : {LoraAlgorithm::kLocon, LoraAlgorithm::kLoha, LoraAlgorithm::kLokr}) {
    for (const bool is_conv : {false, true}) {
      OneLayer model(is_conv ? conv(4, 6) : linear(4, 6));
      model.to(torch::kDouble);
      const auto adapter = adapt(model, config_of(algorithm, 1));
      const auto options = torch::TensorOptions(torch::kDouble);
      const auto x = is_conv ? torch::randn({2, 4, 5, 5}, options) : torch::randn({3, 4}, options);
      for (auto& [role, factor] : adapter->values.factors) {
        factor = torch::randn_like(factor, options).set_requires_grad(true);
      }
      const auto loss = [&] { return model.layer->forward(x).square().mean(); };
      loss().backward();
      torch::NoGradGuard no_grad;
      for (auto& [role, factor] : adapter->values.factors) {
        auto value = factor.view(-1)[0];
        const double gradient = factor.grad().view(-1)[0].item<double>();
        value.add_(1e-5);
        const double above = loss().item<double>();
        value.sub_(2e-5);
        const double below = loss().item<double>();
        value.add_(1e-5);
        EXPECT_NEAR(gradient, (above - below) / 2e-5, 1e-6 * std::abs(gradient) + 1e-9) << role;
      }
    }
  }
}

/// Whatever is made again for backward, the gradients are those of the plain product.
TEST(InitialValues, LohaForgetsItsProductsAndGivesTheSameGradients) {
  torch::manual_seed(0);
  OneLayer model(conv(4, 6));
  const auto adapter = adapt(model, config_of(LoraAlgorithm::kLoha, 2));
  auto& factors = adapter->values.factors;
  for (auto& [role, factor] : factors) factor = torch::randn_like(factor).set_requires_grad(true);
  const auto x = torch::randn({2, 4, 5, 5});
  const auto plain = [&] {
    const auto dense = weight_product(adapter->values, model.layer->weight.sizes());
    return model.layer->compute(x, model.layer->weight, model.layer->bias) + model.layer->compute(x, dense, {});
  };
  plain().square().mean().backward();
  std::map<std::string, torch::Tensor> expected;
  for (auto& [role, factor] : factors) {
    expected[role] = factor.grad().clone();
    factor.mutable_grad().reset();
  }
  model.layer->forward(x).square().mean().backward();
  for (auto& [role, factor] : factors) EXPECT_TRUE(torch::equal(factor.grad(), expected.at(role))) << role;
}

TEST(InitialValues, ConvolutionsMayHaveARankOfTheirOwn) {
  auto config = config_of(LoraAlgorithm::kLocon, 4);
  config.alpha = 4;
  config.conv_rank = 2;
  config.conv_alpha = 1;
  OneLayer wide(conv(6, 8)), narrow(conv(6, 8, 1)), flat(linear(6, 8));
  EXPECT_EQ(change_rank(adapt(wide, config)->values), 2);
  EXPECT_EQ(adapt(wide, config)->values.strength, 0.5);
  EXPECT_EQ(change_rank(adapt(narrow, config)->values), 4) << "it sees one pixel, as LyCORIS counts";
  EXPECT_EQ(change_rank(adapt(flat, config)->values), 4);
  EXPECT_EQ(adapt(flat, config)->values.strength, 1);
  config.rank_pattern = {{"layer", 3}};
  EXPECT_EQ(change_rank(adapt(wide, config)->values), 3) << "a pattern goes before it";
  config.conv_alpha.reset();
  config.rank_pattern.clear();
  EXPECT_EQ(adapt(wide, config)->values.strength, 2) << "--lora_alpha over the convolution's rank";
  config.conv_rank = 0;
  EXPECT_THROW(adapt(wide, config), UsageError);
}

TEST(InitialValues, KroneckerSizesAreLyCORIS) {
  const auto sizes = [](int64_t dimension, int64_t factor) { return kronecker_sizes(dimension, factor); };
  using Pair = std::pair<int64_t, int64_t>;
  EXPECT_EQ(sizes(127, -1), (Pair{1, 127}));
  EXPECT_EQ(sizes(128, -1), (Pair{8, 16}));
  EXPECT_EQ(sizes(250, 4), (Pair{2, 125}));
  EXPECT_EQ(sizes(250, 8), (Pair{5, 50}));
  EXPECT_EQ(sizes(360, 16), (Pair{15, 24}));
  EXPECT_EQ(sizes(320, 320), (Pair{1, 320}));
  EXPECT_EQ(sizes(1024, 16), (Pair{16, 64}));
  EXPECT_EQ(sizes(1, -1), (Pair{1, 1}));
}

TEST(Pissa, TakesThePrincipalPartAndGivesTheDifference) {
  torch::manual_seed(0);
  for (const bool is_conv : {false, true}) {
    OneLayer model(is_conv ? conv(4, 6) : linear(9, 7));
    auto config = config_of(LoraAlgorithm::kPissa, 2);
    config.alpha = 6;
    const auto original = model.layer->weight.clone();
    const auto adapter = adapt(model, config);
    // Eckart and Young: nothing of rank 2 comes nearer than the other singular values.
    const auto values = torch::linalg_svdvals(original.flatten(1));
    EXPECT_NEAR(model.layer->weight.norm().item<double>(), values.slice(0, 2).norm().item<double>(), 1e-5);
    torch::NoGradGuard no_grad;
    for (auto& [role, factor] : adapter->values.factors) factor.add_(torch::randn_like(factor), 0.1);
    const auto change = change_of_base(*adapter);
    EXPECT_EQ(change_rank(change), 4);
    const auto used = model.layer->weight + weight_product(adapter->values, original.sizes());
    EXPECT_LT(distance(original + weight_product(change, original.sizes()), used), 1e-6);
  }
}

TEST(Pissa, GoesOnFromWhatWasTakenOutBefore) {
  torch::manual_seed(0);
  OneLayer model(linear(9, 7));
  const auto original = model.layer->weight.clone();
  const auto adapter = adapt(model, config_of(LoraAlgorithm::kPissa, 2));
  const auto residual = model.layer->weight.clone();
  replace_taken_out(*model.layer, *adapter, adapter->taken_out);
  EXPECT_TRUE(torch::equal(model.layer->weight, residual)) << "not a bit changes";
  // Another machine may have chosen the other sign, or another basis.
  std::map<std::string, torch::Tensor> other;
  for (const auto& [role, factor] : adapter->taken_out) other[role] = torch::randn_like(factor);
  replace_taken_out(*model.layer, *adapter, other);
  const auto expected = original - torch::mm(other.at("up"), other.at("down"));
  EXPECT_LT(distance(model.layer->weight, expected), 1e-6);
  EXPECT_TRUE(torch::equal(adapter->taken_out.at("up"), other.at("up")));
  other["down"] = torch::randn({3, 9});
  EXPECT_THROW(replace_taken_out(*model.layer, *adapter, other), FormatError);
}

TEST(Pissa, RefusesMoreDirectionsThanThereAre) {
  OneLayer model(linear(9, 7));
  EXPECT_NO_THROW(adapt(model, config_of(LoraAlgorithm::kPissa, 7)));
  try {
    adapt(model, config_of(LoraAlgorithm::kPissa, 8));
    FAIL() << "is accepted";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("at most 7 directions out of layer"), std::string::npos) << error.what();
    EXPECT_FALSE(error.hint().empty());
  }
}

TEST(LoraAlgorithm, IsReadByItsName) {
  EXPECT_EQ(parse_lora_algorithm("lokr"), LoraAlgorithm::kLokr);
  EXPECT_THROW(parse_lora_algorithm("LoRA"), UsageError);
  EXPECT_THROW(parse_lora_algorithm(""), UsageError);
}

}  // namespace
}  // namespace lorikeet
