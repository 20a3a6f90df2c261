// Merge, resize, extract and compare, against weight_product and the identities they must keep.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/errors.h"
#include "io/file_test_support.h"
#include "lora/algebra_test_support.h"
#include "lora/change_matrix.h"
#include "lora/compare.h"
#include "lora/extract.h"
#include "lora/merge.h"
#include "lora/resize.h"

namespace lorikeet {
namespace {

LayerChange change_of(ChangeKind kind, std::map<std::string, torch::Tensor> factors, double strength = 1,
                      const std::string& path = "mid_block.to_q") {
  LayerChange change;
  change.path = path;
  change.kind = kind;
  change.factors = std::move(factors);
  change.strength = strength;
  return change;
}

LayerChange linear_lora(Draws& draw, int64_t rank, double strength = 1, const std::string& path = "mid_block.to_q") {
  return change_of(ChangeKind::kLora, {{"down", draw({rank, 24})}, {"up", draw({16, rank})}}, strength, path);
}

LoraFile file_of(std::vector<LayerChange> unet) {
  LoraFile file;
  file.unet = std::move(unet);
  return file;
}

/// In float64.
torch::Tensor exact_product(LayerChange change, at::IntArrayRef shape) {
  for (auto& [role, tensor] : change.factors) tensor = tensor.to(torch::kDouble);
  return weight_product(change, shape);
}

struct KindCase {
  const char* name;
  ChangeKind kind;
  std::vector<std::pair<std::string, std::vector<int64_t>>> factors;
  std::vector<int64_t> shape;
  bool is_product;
  const char* path;
};

const KindCase kKinds[] = {
    {"lora", ChangeKind::kLora, {{"down", {3, 24}}, {"up", {16, 3}}}, {16, 24}, true, "a.to_q"},
    {"lora_1x1",
     ChangeKind::kLora,
     {{"down", {3, 24, 1, 1}}, {"up", {16, 3, 1, 1}}},
     {16, 24, 1, 1},
     true,
     "a.proj_in"},
    {"lora_conv", ChangeKind::kLora, {{"down", {3, 4, 3, 3}}, {"up", {8, 3, 1, 1}}}, {8, 4, 3, 3}, true, "a.conv1"},
    {"lora_tucker",
     ChangeKind::kLora,
     {{"down", {3, 4, 1, 1}}, {"mid", {3, 3, 3, 3}}, {"up", {8, 3, 1, 1}}},
     {8, 4, 3, 3},
     true,
     "a.conv1"},
    {"loha",
     ChangeKind::kLoha,
     {{"w1_a", {16, 3}}, {"w1_b", {3, 24}}, {"w2_a", {16, 2}}, {"w2_b", {2, 24}}},
     {16, 24},
     true,
     "a.to_q"},
    {"loha_wide",
     ChangeKind::kLoha,
     {{"w1_a", {16, 5}}, {"w1_b", {5, 24}}, {"w2_a", {16, 5}}, {"w2_b", {5, 24}}},
     {16, 24},
     false,
     "a.to_q"},
    {"loha_conv",
     ChangeKind::kLoha,
     {{"w1_a", {8, 2}}, {"w1_b", {2, 36}}, {"w2_a", {8, 2}}, {"w2_b", {2, 36}}},
     {8, 4, 3, 3},
     true,
     "a.conv1"},
    {"loha_tucker",
     ChangeKind::kLoha,
     {{"w1_a", {2, 8}},
      {"w1_b", {2, 4}},
      {"t1", {2, 2, 3, 3}},
      {"w2_a", {2, 8}},
      {"w2_b", {2, 4}},
      {"t2", {2, 2, 3, 3}}},
     {8, 4, 3, 3},
     true,
     "a.conv1"},
    {"lokr", ChangeKind::kLokr, {{"w1", {2, 3}}, {"w2", {8, 8}}}, {16, 24}, true, "a.to_q"},
    {"lokr_factors",
     ChangeKind::kLokr,
     {{"w1_a", {4, 2}}, {"w1_b", {2, 4}}, {"w2_a", {4, 2}}, {"w2_b", {2, 6}}},
     {16, 24},
     true,
     "a.to_q"},
    {"lokr_wide", ChangeKind::kLokr, {{"w1", {2, 2}}, {"w2_a", {4, 7}}, {"w2_b", {7, 6}}}, {8, 12}, false, "a.to_q"},
    {"lokr_conv", ChangeKind::kLokr, {{"w1", {3, 2}}, {"w2", {4, 2, 3, 3}}}, {12, 4, 3, 3}, true, "a.conv1"},
    {"lokr_conv_flat",
     ChangeKind::kLokr,
     {{"w1", {2, 2}}, {"w2_a", {4, 2}}, {"w2_b", {2, 18}}},
     {8, 4, 3, 3},
     true,
     "a.conv2"},
    {"lokr_tucker",
     ChangeKind::kLokr,
     {{"w1", {2, 2}}, {"w2_a", {2, 4}}, {"w2_b", {3, 2}}, {"t2", {2, 3, 3, 3}}},
     {8, 4, 3, 3},
     true,
     "a.conv1"},
    {"full", ChangeKind::kFull, {{"diff", {8, 4, 3, 3}}}, {8, 4, 3, 3}, false, "a.conv1"},
    {"norm", ChangeKind::kFull, {{"diff", {16}}}, {16}, false, "a.norm1"},
};

LayerChange drawn(const KindCase& test, Draws& draw, double strength) {
  auto change = change_of(test.kind, {}, strength, test.path);
  for (const auto& [role, sizes] : test.factors) change.factors[role] = draw(sizes);
  return change;
}

class Kinds : public ::testing::TestWithParam<KindCase> {};
INSTANTIATE_TEST_SUITE_P(All, Kinds, ::testing::ValuesIn(kKinds), [](const auto& info) { return info.param.name; });

TEST_P(Kinds, MatrixIsTheProductOfTheFactors) {
  const auto& test = GetParam();
  Draws draw;
  const auto change = drawn(test, draw, -0.7);
  const auto expected = exact_product(change, test.shape) * 1.5;
  const auto matrix = change_matrix(change, 1.5);
  EXPECT_EQ(matrix.shape, test.shape);
  EXPECT_EQ(matrix.is_product(), test.is_product);
  EXPECT_LT(relative(dense_change(matrix), expected), 1e-6);
  EXPECT_NEAR(change_norm(matrix), frobenius_norm(expected), 1e-6 * frobenius_norm(expected));
  EXPECT_NEAR(change_norm(change) * 1.5, frobenius_norm(expected), 1e-6 * frobenius_norm(expected));
}

TEST(ChangeMatrix, NormsOfLohaTakeLittleWorkWhereRanksAreSmall) {
  Draws draw;
  for (const int64_t rank : {1, 2, 30}) {
    const LayerChange change{"a.to_q",
                             ChangeKind::kLoha,
                             {{"w1_a", draw({40, rank})},
                              {"w1_b", draw({rank, 50000})},
                              {"w2_a", draw({40, 2})},
                              {"w2_b", draw({2, 50000})}},
                             -0.5};
    const double expected = frobenius_norm(exact_product(change, {40, 50000}));
    EXPECT_NEAR(change_norm(change), expected, 1e-6 * expected) << rank;
  }
}

TEST_P(Kinds, ResizeWithoutLossKeepsTheChange) {
  const auto& test = GetParam();
  Draws draw;
  auto change = drawn(test, draw, 0.3);
  change.factors["bias"] = draw({test.shape[0]});
  const auto resized = resize_lora(file_of({change}), keep_rank(1000));
  ASSERT_EQ(resized.file.unet.size(), 1u);
  const auto& result = resized.file.unet.front();
  EXPECT_EQ(result.kind, test.shape.size() == 1 ? ChangeKind::kFull : ChangeKind::kLora);
  EXPECT_LT(relative(weight_product(result, test.shape), exact_product(change, test.shape)), 2e-6);
  EXPECT_TRUE(torch::equal(result.get("bias"), change.get("bias")));
  EXPECT_LT(resized.report.error(), 2e-6);
  check_fits(result, torch::zeros(test.shape), torch::zeros(test.shape[0]));
  if (test.shape.size() == 4) {
    const int64_t rank = result.get("down").size(0);
    EXPECT_EQ(result.get("down").sizes(), (std::vector<int64_t>{rank, test.shape[1], test.shape[2], test.shape[3]}));
    EXPECT_EQ(result.get("up").sizes(), (std::vector<int64_t>{test.shape[0], rank, 1, 1}));
  }
}

TEST_P(Kinds, ConcatMergeIsExactInAnyOrder) {
  const auto& test = GetParam();
  Draws draw;
  const auto first = drawn(test, draw, 0.5), second = drawn(test, draw, 2);
  const auto expected = exact_product(first, test.shape) * 0.7 - exact_product(second, test.shape) * 0.4;
  const std::vector<WeightedLora> loras = {{file_of({first}), 0.7}, {file_of({second}), -0.4}};
  const std::vector<WeightedLora> turned = {loras[1], loras[0]};
  if (!test.is_product && test.kind != ChangeKind::kFull) {
    const auto hint = expect_error<FormatError>("a.to_q", [&] { merge_concat(loras); });
    EXPECT_NE(hint.find("--method=svd"), std::string::npos);
    return;
  }
  const auto merged = merge_concat(loras).file.unet.at(0);
  EXPECT_EQ(merged.strength, 1);
  EXPECT_LT(relative(weight_product(merged, test.shape), expected), 1e-6);
  EXPECT_LT(relative(weight_product(merge_concat(turned).file.unet.at(0), test.shape), expected), 1e-6);
}

TEST_P(Kinds, SvdMergeIsTheBestApproximationInAnyOrder) {
  const auto& test = GetParam();
  Draws draw;
  const auto first = drawn(test, draw, 0.5), second = drawn(test, draw, 2);
  const auto expected = exact_product(first, test.shape) * 0.7 - exact_product(second, test.shape) * 0.4;
  const std::vector<WeightedLora> loras = {{file_of({first}), 0.7}, {file_of({second}), -0.4}};
  const std::vector<WeightedLora> turned = {loras[1], loras[0]};
  const auto merged = merge_svd(loras, keep_rank(2));
  const auto result = weight_product(merged.file.unet.at(0), test.shape);
  if (test.shape.size() == 1) {
    EXPECT_EQ(merged.report.kept_whole, std::vector<std::string>{"unet.a.norm1"});
    EXPECT_LT(relative(result, expected), 1e-6);
    return;
  }
  const auto values = std::get<1>(torch::linalg_svd(expected.flatten(1)));
  const double best = frobenius_norm(values.slice(0, 2)) / frobenius_norm(values);
  EXPECT_EQ(merged.report.layers.at(0).rank, 2);
  EXPECT_NEAR(merged.report.layers.at(0).error(), best, 1e-5);
  EXPECT_NEAR(relative(result, expected), best, 1e-5);
  const auto other = weight_product(merge_svd(turned, keep_rank(2)).file.unet.at(0), test.shape);
  EXPECT_LT(relative(other, result), 1e-5);
}

TEST(Merge, UnitesLayersPartsBiasesAndWords) {
  Draws draw;
  LoraFile a = file_of({linear_lora(draw, 2, 1, "only_a"), linear_lora(draw, 2, 1, "shared")});
  LoraFile b =
      file_of({linear_lora(draw, 3, 1, "shared"), change_of(ChangeKind::kFull, {{"bias", draw({16})}}, 1, "z")});
  a.unet[1].factors["bias"] = draw({16});
  b.unet[0].factors["bias"] = draw({16});
  b.text_encoder = {linear_lora(draw, 1, 0.5, "text_model.q")};
  a.words = {{"<s2>", draw({1, 4})}, {"<s1>", draw({2, 4})}};
  b.words = {{"<s1>", a.words[1].vectors.clone()}, {"<s3>", draw({1, 4})}};
  a.metadata = {{"ss_v2", "False"}, {"ss_network_dim", "2"}, {"ss_title", "a"}, {"lora_adapter_metadata", "{}"}};
  b.metadata = {{"ss_v2", "False"}, {"ss_network_dim", "2"}, {"ss_title", "b"}};
  const auto merged = merge_concat({{a, 0.5, "a.safetensors"}, {b, 2, "b.safetensors"}}).file;
  ASSERT_EQ(merged.unet.size(), 3u);
  EXPECT_EQ(merged.unet[0].path, "only_a");
  EXPECT_EQ(change_rank(merged.unet[1]), 5);
  EXPECT_LT(relative(merged.unet[1].get("bias"), a.unet[1].get("bias") * 0.5 + b.unet[0].get("bias") * 2), 1e-6);
  EXPECT_FALSE(merged.unet[2].has("diff"));
  EXPECT_LT(relative(merged.unet[2].get("bias"), b.unet[1].get("bias") * 2), 1e-6);
  EXPECT_LT(
      relative(weight_product(merged.text_encoder.at(0), {16, 24}), exact_product(b.text_encoder[0], {16, 24}) * 2),
      1e-6);
  ASSERT_EQ(merged.words.size(), 3u);
  EXPECT_EQ(merged.words[2].word, "<s3>");
  EXPECT_EQ(merged.metadata.at(kMergedFromKey),
            R"([{"name":"a.safetensors","weight":0.5},{"name":"b.safetensors","weight":2.0}])");
  EXPECT_EQ(merged.metadata.at(kMergeMethodKey), "concat");
  EXPECT_EQ(merged.metadata.at("ss_v2"), "False");
  EXPECT_EQ(merged.metadata.size(), 3u) << "what is not true of both, or of the old factors, is gone";
}

TEST(Merge, RanksAddAndWeightsAreSpreadOverBothFactors) {
  Draws draw;
  const auto lora = linear_lora(draw, 2, 0.25);
  const auto merged = merge_concat({{file_of({lora}), -4}, {file_of({lora}), 0}}).file.unet.at(0);
  EXPECT_TRUE(torch::allclose(merged.get("up"), -lora.get("up")));
  EXPECT_TRUE(torch::allclose(merged.get("down"), lora.get("down")));
}

TEST(Merge, WholeDifferencesStayWhole) {
  Draws draw;
  const auto full = change_of(ChangeKind::kFull, {{"diff", draw({16, 24})}});
  const auto lora = linear_lora(draw, 2, 0.5);
  const auto merged = merge_concat({{file_of({full}), 1}, {file_of({lora}), 3}}).file.unet.at(0);
  EXPECT_EQ(merged.kind, ChangeKind::kFull);
  EXPECT_LT(relative(merged.get("diff"), full.get("diff") + exact_product(lora, {16, 24}) * 3), 1e-6);
}

TEST(Merge, ReportsTheErrorInAll) {
  Draws draw;
  const auto file = file_of({linear_lora(draw, 6, 1, "a"), linear_lora(draw, 6, 4, "b")});
  const auto merged = merge_svd({{file, 1}}, keep_rank(2));
  double lost = 0, all = 0;
  for (size_t i = 0; i < 2; ++i) {
    const auto whole = exact_product(file.unet[i], {16, 24});
    lost += std::pow(frobenius_norm(weight_product(merged.file.unet[i], {16, 24}) - whole), 2);
    all += std::pow(frobenius_norm(whole), 2);
  }
  EXPECT_NEAR(merged.report.error(), std::sqrt(lost / all), 1e-6);
  EXPECT_EQ(merged.file.metadata.at(kMergeMethodKey), "svd");
}

TEST(Merge, RefusesWhatHasNoSum) {
  Draws draw;
  const auto plain = file_of({linear_lora(draw, 2)});
  expect_error<UsageError>("nothing to merge", [&] { merge_concat({}); });
  expect_error<UsageError>("nothing to merge", [&] { merge_svd({{plain, 0}}, keep_rank(1)); });
  expect_error<UsageError>("neither a rank", [&] { merge_svd({{plain, 1}}, {}); });
  expect_error<UsageError>("the weight of x is nan", [&] {
    merge_concat({{plain, std::numeric_limits<double>::quiet_NaN(), "x"}});
  });
  auto dora = plain;
  dora.unet[0].factors["magnitude"] = torch::ones({16, 1});
  const auto hint = expect_error<FormatError>("d.safetensors has DoRA's lengths for unet.mid_block.to_q", [&] {
    merge_concat({{plain, 1}, {dora, 1, "d.safetensors"}});
  });
  EXPECT_NE(hint.find("lora fuse"), std::string::npos);
  const auto wider = file_of({change_of(ChangeKind::kLora, {{"down", draw({2, 25})}, {"up", draw({16, 2})}})});
  expect_error<FormatError>("[16, 24] and of [16, 25]", [&] { merge_concat({{plain, 1}, {wider, 1}}); });
  auto first = plain, second = plain;
  first.words = {{"<s1>", draw({1, 4})}};
  second.words = {{"<s1>", draw({1, 4})}};
  expect_error<FormatError>("the word <s1> has other vectors in b", [&] {
    merge_concat({{first, 1, "a"}, {second, 1, "b"}});
  });
  auto sdxl = plain;
  sdxl.is_sdxl = true;
  expect_error<FormatError>("one of them is for SDXL", [&] { merge_concat({{plain, 1}, {sdxl, 1}}); });
  first = second = plain;
  first.unet[0].factors["bias"] = torch::ones(16);
  second.unet[0].factors["bias"] = torch::ones(17);
  expect_error<FormatError>("16 and 17 biases", [&] { merge_concat({{first, 1}, {second, 1}}); });
  expect_error<FormatError>("do not go together", [&] {
    merge_concat({{file_of({change_of(ChangeKind::kLora, {{"down", draw({2, 24})}, {"up", draw({16, 3})}})}), 1}});
  });
  expect_error<FormatError>("do not go together", [&] {
    merge_concat({{file_of({change_of(ChangeKind::kLora, {{"down", draw({2, 24})}})}), 1}});
  });
}

TEST(Merge, StopsWhenAskedTo) {
  Draws draw;
  const auto file = file_of({linear_lora(draw, 2, 1, "a"), linear_lora(draw, 2, 1, "b")});
  std::vector<int64_t> seen;
  const auto stop = [&](int64_t done, int64_t total) {
    EXPECT_EQ(total, 2);
    seen.push_back(done);
    return false;
  };
  expect_error<Interrupted>("stopped", [&] { merge_concat({{file, 1}}, stop); });
  expect_error<Interrupted>("stopped", [&] { resize_lora(file, keep_rank(1), stop); });
  expect_error<Interrupted>("stopped", [&] { compare_loras(file, file, stop); });
  EXPECT_EQ(seen, (std::vector<int64_t>{1, 1, 1}));
}

TEST(Resize, KeepsDoraAndSaysWhatItDid) {
  Draws draw;
  auto file = file_of({linear_lora(draw, 6)});
  file.unet[0].factors["magnitude"] = draw({16, 1});
  file.unet[0].scales_inside = true;
  file.words = {{"<s1>", draw({1, 4})}};
  file.metadata = {{"ss_network_dim", "6"}, {"ss_base_model_version", "sd_v1"}};
  TruncateOptions options = keep_energy(0.9);
  options.rank = 4;
  const auto resized = resize_lora(file, options);
  EXPECT_TRUE(torch::equal(resized.file.unet.at(0).get("magnitude"), file.unet[0].get("magnitude")));
  EXPECT_TRUE(resized.file.unet[0].scales_inside);
  EXPECT_LE(change_rank(resized.file.unet[0]), 4);
  EXPECT_EQ(resized.file.words.size(), 1u);
  EXPECT_EQ(resized.file.metadata.at(kResizedKey), "rank=4, keep_energy=0.9");
  EXPECT_EQ(resized.file.metadata.at("ss_base_model_version"), "sd_v1");
  EXPECT_FALSE(resized.file.metadata.contains("ss_network_dim"));
}

TEST(Compare, MeasuresLayersAndTheWhole) {
  Draws draw;
  auto a = file_of({linear_lora(draw, 2, 1, "a"), linear_lora(draw, 2, 1, "shared")});
  auto b = file_of({linear_lora(draw, 3, 0.5, "shared"), linear_lora(draw, 2, 1, "z")});
  a.unet[1].factors["bias"] = torch::ones(16);
  b.unet[0].factors["bias"] = torch::ones(16) * 2;
  const auto report = compare_loras(a, b);
  EXPECT_EQ(report.only_in_a(), std::vector<std::string>{"unet.a"});
  EXPECT_EQ(report.only_in_b(), std::vector<std::string>{"unet.z"});
  EXPECT_EQ(report.layers.at(0).weight.distance(), 1);
  const auto& shared = report.layers.at(1);
  const auto of_a = exact_product(a.unet[1], {16, 24}), of_b = exact_product(b.unet[0], {16, 24});
  const double norm_a = frobenius_norm(of_a), norm_b = frobenius_norm(of_b);
  EXPECT_NEAR(shared.weight.distance(), frobenius_norm(of_a - of_b) / std::max(norm_a, norm_b), 1e-9);
  EXPECT_NEAR(shared.weight.cosine(), (of_a * of_b).sum().item<double>() / norm_a / norm_b, 1e-9);
  EXPECT_NEAR(shared.bias->distance(), 0.5, 1e-9);
  EXPECT_FALSE(shared.magnitude.has_value());
  double squares = 0;
  for (const auto& layer : report.layers) squares += std::pow(layer.weight.difference, 2);
  EXPECT_NEAR(report.weights.difference, std::sqrt(squares), 1e-9);
}

TEST(Compare, EqualChangesHaveNoDistance) {
  Draws draw;
  const auto lora = linear_lora(draw, 4, 0.5);
  auto folded = lora;
  folded.strength = 1;
  folded.factors["up"] = lora.get("up") * 0.5;
  EXPECT_EQ(compare_loras(file_of({lora}), file_of({lora})).weights.distance(), 0);
  const auto report = compare_loras(file_of({lora}), file_of({folded}));
  EXPECT_LT(report.weights.distance(), 1e-12) << "a power of two changes no digit";
  EXPECT_NEAR(report.weights.cosine(), 1, 1e-12);
  const auto full = change_of(ChangeKind::kFull, {{"diff", exact_product(lora, {16, 24}).to(torch::kFloat)}});
  EXPECT_LT(compare_loras(file_of({lora}), file_of({full})).weights.distance(), 1e-6);
  auto negative = lora;
  negative.strength = -0.5;
  EXPECT_NEAR(compare_loras(file_of({lora}), file_of({negative})).weights.cosine(), -1, 1e-12);
  EXPECT_NEAR(compare_loras(file_of({lora}), file_of({negative})).weights.distance(), 2, 1e-12);
}

TEST(Compare, TellsWordsApartAndRefusesOtherShapes) {
  Draws draw;
  LoraFile a = file_of({linear_lora(draw, 2)}), b = a;
  a.words = {{"one", draw({1, 4})}, {"same", torch::ones({1, 4})}, {"other", draw({1, 4})}};
  b.words = {{"same", torch::ones({1, 4})}, {"other", draw({2, 4})}, {"two", draw({1, 4})}};
  const auto report = compare_loras(a, b);
  EXPECT_EQ(report.words_only_in_a, std::vector<std::string>{"one"});
  EXPECT_EQ(report.words_only_in_b, std::vector<std::string>{"two"});
  EXPECT_EQ(report.words_different, std::vector<std::string>{"other"});
  const auto wider = file_of({change_of(ChangeKind::kLora, {{"down", draw({2, 25})}, {"up", draw({16, 2})}})});
  expect_error<FormatError>("[16, 25]", [&] { compare_loras(a, wider); });
  for (auto* file : {&a, &b}) file->unet[0].factors["bias"] = torch::ones(file == &a ? 16 : 8);
  expect_error<FormatError>("16 and 8 numbers for the bias", [&] { compare_loras(a, b); });
}

/// A little model, and what was added to it.
class ExtractTest : public ::testing::Test {
 protected:
  using Tensors = std::vector<std::pair<std::string, torch::Tensor>>;

  void SetUp() override {
    base_ = {{"conv.bias", draw_({20})},     {"conv.weight", draw_({20, 10, 3, 3})},
             {"norm.weight", draw_({20})},   {"proj.weight", draw_({40, 60})},
             {"same.weight", draw_({4, 4})}, {"short.weight", draw_({12, 30, 1, 1})}};
    tuned_ = base_;
    conv_ = low_rank({20, 10, 3, 3}, 2);
    proj_ = low_rank({40, 60}, 3);
    short_ = low_rank({12, 30, 1, 1}, 1);
    tuned_[0].second = base_[0].second + 1;
    tuned_[1].second = base_[1].second + conv_;
    tuned_[2].second = base_[2].second + 2;
    tuned_[3].second = base_[3].second + proj_;
    tuned_[5].second = base_[5].second + short_;
  }

  torch::Tensor low_rank(std::vector<int64_t> shape, int64_t rank) {
    int64_t columns = 1;
    for (size_t i = 1; i < shape.size(); ++i) columns *= shape[i];
    return draw_({shape[0], rank}).mm(draw_({rank, columns})).reshape(shape);
  }

  ExtractedLora extract(const ExtractOptions& options = {}) {
    const auto tuned = weights_from_tensors(tuned_, "tuned"), base = weights_from_tensors(base_, "base");
    return extract_lora({tuned.get(), base.get()}, {}, options);
  }

  Draws draw_;
  Tensors base_, tuned_;
  torch::Tensor conv_, proj_, short_;
};

TEST_F(ExtractTest, FindsEveryLayersDifference) {
  ExtractOptions options;
  options.rank = 3;
  const auto extracted = extract(options);
  const auto& unet = extracted.file.unet;
  ASSERT_EQ(unet.size(), 3u);
  EXPECT_EQ(unet[0].path, "conv");
  EXPECT_EQ(unet[0].get("down").sizes(), (std::vector<int64_t>{change_rank(unet[0]), 10, 3, 3}));
  EXPECT_LT(relative(weight_product(unet[0], {20, 10, 3, 3}), conv_), 1e-5);
  EXPECT_LT(relative(weight_product(unet[1], {40, 60}), proj_), 1e-5);
  EXPECT_LT(relative(weight_product(unet[2], {12, 30, 1, 1}), short_), 1e-5);
  EXPECT_EQ(unet[2].get("up").sizes(), (std::vector<int64_t>{12, change_rank(unet[2]), 1, 1}));
  EXPECT_LT(extracted.report.truncation.error(), 1e-5);
  EXPECT_EQ(extracted.report.unchanged, 1);
  ASSERT_EQ(extracted.report.others.size(), 2u);
  EXPECT_EQ(extracted.report.others[1].name, "norm.weight");
  EXPECT_FALSE(extracted.report.others[1].kept);
  const double kept =
      std::pow(frobenius_norm(conv_), 2) + std::pow(frobenius_norm(proj_), 2) + std::pow(frobenius_norm(short_), 2);
  EXPECT_NEAR(extracted.report.left_out_share(), 100 / (kept + 100), 1e-5) << "20 ones and 20 twos";
}

TEST_F(ExtractTest, KeepsBiasesAndNormsWhenAsked) {
  ExtractOptions options;
  options.keep_other = true;
  options.conv_rank = 1;
  const auto extracted = extract(options);
  const auto& unet = extracted.file.unet;
  ASSERT_EQ(unet.size(), 4u);
  EXPECT_EQ(change_rank(unet[0]), 1);
  EXPECT_LT(relative(unet[0].get("bias"), torch::ones(20)), 1e-5);
  EXPECT_EQ(unet[1].path, "norm");
  EXPECT_EQ(unet[1].kind, ChangeKind::kFull);
  EXPECT_LT(relative(unet[1].get("diff"), torch::ones(20) * 2), 1e-5);
  EXPECT_EQ(extracted.report.left_out_share(), 0);
  EXPECT_GT(extracted.report.truncation.layers.at(0).error(), 0.01);
}

TEST_F(ExtractTest, RoundingToHalfPrecisionIsNoDifference) {
  for (auto& [name, tensor] : tuned_) tensor = tensor.to(torch::kHalf);
  const auto extracted = extract();
  EXPECT_EQ(extracted.report.unchanged, 1) << "same.weight, a rounded copy";
  EXPECT_LT(relative(weight_product(extracted.file.unet.at(1), {40, 60}), proj_), 2e-3);
  for (auto& [name, tensor] : base_) tensor = tensor.to(torch::kHalf);
  const auto expected = tuned_[3].second.to(torch::kFloat) - base_[3].second.to(torch::kFloat);
  ExtractOptions options;
  options.rank = 40;
  EXPECT_LT(relative(weight_product(extract(options).file.unet.at(1), {40, 60}), expected), 2e-6)
      << "computed in float32";
}

TEST_F(ExtractTest, SmallDifferencesCanBeIgnored) {
  tuned_[4].second = base_[4].second + 1e-3;
  EXPECT_EQ(extract().file.unet.size(), 4u);
  ExtractOptions options;
  options.min_difference = 2e-3;
  EXPECT_EQ(extract(options).file.unet.size(), 3u);
}

TEST_F(ExtractTest, TextEncodersGoByTheirFullNames) {
  const auto delta = low_rank({8, 8}, 1);
  const auto q = draw_({8, 8}), tokens = draw_({9, 8});
  const auto base = weights_from_tensors({{"encoder.q_proj.weight", q},
                                          {"embeddings.token_embedding.weight", tokens},
                                          {"embeddings.position_ids", torch::arange(9)},
                                          {"gone.weight", q}},
                                         "base");
  const auto tuned = weights_from_tensors({{"text_model.encoder.q_proj.weight", q + delta},
                                           {"text_model.embeddings.token_embedding.weight", tokens + 1},
                                           {"text_model.embeddings.position_ids", torch::arange(9)},
                                           {"text_model.new.weight", q}},
                                          "tuned");
  int64_t last = 0;
  const auto extracted = extract_lora({}, {tuned.get(), base.get()}, {}, [&](int64_t done, int64_t total) {
    EXPECT_EQ(total, 4);
    last = done;
    return true;
  });
  EXPECT_EQ(last, 4);
  ASSERT_EQ(extracted.file.text_encoder.size(), 1u);
  EXPECT_EQ(extracted.file.text_encoder[0].path, "text_model.encoder.q_proj");
  EXPECT_LT(relative(weight_product(extracted.file.text_encoder[0], {8, 8}), delta), 1e-5);
  ASSERT_EQ(extracted.report.others.size(), 1u);
  EXPECT_EQ(extracted.report.others[0].name, "text_model.embeddings.token_embedding.weight");
  EXPECT_EQ(extracted.report.only_in_tuned, std::vector<std::string>{"text_encoder.text_model.new.weight"});
  EXPECT_EQ(extracted.report.only_in_base, std::vector<std::string>{"text_encoder.text_model.gone.weight"});
}

TEST_F(ExtractTest, RefusesWhatIsNotThePair) {
  ExtractOptions options;
  options.rank = 0;
  expect_error<UsageError>("rank is 0", [&] { extract(options); });
  options = {};
  options.conv_rank = -1;
  expect_error<UsageError>("rank is -1", [&] { extract(options); });
  options = {};
  options.min_difference = -1;
  expect_error<UsageError>("min_difference is -1", [&] { extract(options); });
  const auto source = weights_from_tensors(base_, "base");
  expect_error<UsageError>("only for the tuned model", [&] { extract_lora({source.get(), nullptr}, {}); });
  expect_error<UsageError>("no weights to compare", [&] { extract_lora({}, {}); });
  expect_error<FormatError>("does not differ", [&] { extract_lora({source.get(), source.get()}, {}); });
  const auto other = weights_from_tensors({{"x.weight", torch::ones({2, 2})}}, "other");
  expect_error<FormatError>("no tensor's name in common", [&] { extract_lora({other.get(), source.get()}, {}); });
  expect_error<Interrupted>("stopped", [&] {
    extract_lora({source.get(), source.get()}, {}, {}, [](auto, auto) { return false; });
  });
  tuned_[3].second = draw_({40, 61});
  expect_error<FormatError>("unet.proj.weight is [40, 61] in tuned and [40, 60] in base", [&] { extract(); });
  tuned_[3].second = base_[3].second / 0;
  expect_error<FormatError>("unet.proj.weight holds values that are not finite", [&] { extract(); });
}

}  // namespace
}  // namespace lorikeet
