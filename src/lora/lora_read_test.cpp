#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <limits>
#include <random>
#include <set>

#include "core/errors.h"
#include "io/file_test_support.h"
#include "io/safetensors.h"
#include "lora/layer_names.h"
#include "lora/lora_file.h"

namespace lorikeet {
namespace {

// Made by tools/reference/lora_files.py, which says what wrote each.
const std::filesystem::path kCases = "tests/data/lora";
constexpr const char* kAttention = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";
constexpr const char* kKohyaAttention = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q";

struct Case {
  std::string file;
  LoraDialect dialect;
  bool is_sdxl = false;
};

/// The reference's blocks: one down, one mid.
BlockOrder small_order() {
  return {{"down_blocks.0.attentions.0.transformer_blocks.0", "mid_block.attentions.0.transformer_blocks.0"}, 1};
}

const SafetensorsFile& reference() {
  static const auto file = SafetensorsFile::open(kCases / "changes.safetensors");
  return file;
}

double relative_error(const torch::Tensor& found, const torch::Tensor& expected) {
  EXPECT_EQ(found.sizes(), expected.sizes());
  if (found.sizes() != expected.sizes()) return std::numeric_limits<double>::infinity();
  const double most = expected.abs().max().item<double>();
  const double difference = (found.to(torch::kDouble) - expected).abs().max().item<double>();
  return most == 0 ? difference : difference / most;
}

std::vector<std::string> keys_with(const std::string& prefix) {
  std::vector<std::string> keys;
  for (const auto& name : reference().names()) {
    if (name.starts_with(prefix)) keys.push_back(name);
  }
  return keys;
}

/// Every change of the model against the reference, at both scales, and that none is missing.
void expect_changes(const std::string& name, const std::string& model, const std::vector<LayerChange>& changes) {
  std::set<std::string> left;
  for (const auto& key : keys_with(name + "|" + model + "|")) left.insert(key);
  for (const auto& change : changes) {
    const std::string key = name + "|" + model + "|" + change.path;
    SCOPED_TRACE(key);
    ASSERT_TRUE(reference().contains(key + "|1"));
    const auto base = reference().tensor("base|" + model + "|" + change.path);
    const auto whole = reference().tensor(key + "|1");
    EXPECT_NO_THROW(check_fits(change, base, change.get("bias")));
    EXPECT_LE(relative_error(weight_change(change, base, 1), whole), 1e-6);
    const auto part = reference().contains(key + "|0.3") ? reference().tensor(key + "|0.3") : whole * 0.3;
    EXPECT_LE(relative_error(weight_change(change, base, 0.3), part), 1e-6);
    EXPECT_EQ(change.has("bias"), reference().contains(key + "|bias"));
    if (change.has("bias")) {
      EXPECT_LE(relative_error(change.get("bias"), reference().tensor(key + "|bias")), 1e-6);
    }
    for (const char* end : {"|1", "|0.3", "|bias"}) left.erase(key + end);
  }
  EXPECT_EQ(left, std::set<std::string>()) << "layers that were not read";
  EXPECT_TRUE(std::is_sorted(changes.begin(), changes.end(),
                             [](const auto& first, const auto& second) { return first.path < second.path; }));
}

class ReferenceFile : public testing::TestWithParam<Case> {};

TEST_P(ReferenceFile, ChangesWeightsAsItsLibraryDoes) {
  const auto& [file_name, dialect, is_sdxl] = GetParam();
  const std::string name = std::filesystem::path(file_name).stem();
  const auto file = read_lora_file(kCases / file_name, small_order());
  EXPECT_EQ(file.dialect, dialect) << dialect_name(file.dialect);
  EXPECT_EQ(file.is_sdxl, is_sdxl);
  for (const auto& [key, reason] : file.unused) ADD_FAILURE() << key << ": " << reason;
  const std::string small = dialect == LoraDialect::kCloneofsimo ? "small_" : "";
  expect_changes(name, small + "unet", file.unet);
  expect_changes(name, small + "text_encoder", file.text_encoder);
  expect_changes(name, "text_encoder_2", file.text_encoder_2);
  EXPECT_EQ(file.words.size(), keys_with(name + "|word|").size());
  for (const auto& [word, vectors] : file.words) {
    const std::string key = name + "|word|" + word;
    ASSERT_TRUE(reference().contains(key)) << key;
    EXPECT_TRUE(torch::equal(vectors.to(torch::kDouble), reference().tensor(key))) << key;
  }
  EXPECT_FALSE(keys_with(name + "|").empty());
}

INSTANTIATE_TEST_SUITE_P(
    Dialects, ReferenceFile,
    testing::Values(
        Case{"diffusers.safetensors", LoraDialect::kDiffusers}, Case{"diffusers_conv.safetensors", LoraDialect::kPeft},
        Case{"peft.safetensors", LoraDialect::kPeft}, Case{"peft_patterns.safetensors", LoraDialect::kPeft},
        Case{"peft_rslora.safetensors", LoraDialect::kPeft}, Case{"peft_dora.safetensors", LoraDialect::kPeft},
        Case{"peft_bias.safetensors", LoraDialect::kPeft}, Case{"peft_model.safetensors", LoraDialect::kPeft},
        Case{"peft_own", LoraDialect::kPeft}, Case{"peft_own_bin", LoraDialect::kPeft},
        Case{"old_diffusers.safetensors", LoraDialect::kOldDiffusers},
        Case{"old_diffusers_bare.bin", LoraDialect::kOldDiffusers}, Case{"kohya.safetensors", LoraDialect::kKohya},
        Case{"locon.pt", LoraDialect::kKohya}, Case{"kohya_sdxl.safetensors", LoraDialect::kKohya, true},
        Case{"lycoris_lora.safetensors", LoraDialect::kKohya}, Case{"loha.safetensors", LoraDialect::kKohya},
        Case{"loha_pt.ckpt", LoraDialect::kKohya}, Case{"lokr.safetensors", LoraDialect::kKohya},
        Case{"lycoris_full.safetensors", LoraDialect::kKohya},
        Case{"cloneofsimo.safetensors", LoraDialect::kCloneofsimo},
        Case{"cloneofsimo_pt.pt", LoraDialect::kCloneofsimo}, Case{"bundle.safetensors", LoraDialect::kKohya},
        Case{"a1111_word.pt", LoraDialect::kTextualInversion},
        Case{"a1111_tensor.safetensors", LoraDialect::kTextualInversion},
        Case{"learned_embeds.bin", LoraDialect::kTextualInversion},
        Case{"learned_word.safetensors", LoraDialect::kTextualInversion}),
    [](const auto& info) { return std::filesystem::path(info.param.file).stem().string(); });

TEST(LoraReadTest, EveryReferenceChangeBelongsToACase) {
  std::set<std::string> names;
  for (const auto& name : reference().names()) names.insert(name.substr(0, name.find('|')));
  EXPECT_EQ(names.size(), 27u + 1) << "27 cases and the bases";
}

torch::Tensor ramp(std::vector<int64_t> shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return (torch::arange(1, count + 1, torch::kFloat) / 7).reshape(shape);
}

LoraFile read(const TestFolder& folder, const NamedTensors& tensors,
              const std::map<std::string, std::string>& metadata = {}) {
  return read_lora_file(folder.write("x.safetensors", safetensors_bytes(tensors, metadata)));
}

NamedTensors pair(const std::string& layer = kKohyaAttention) {
  return {{layer + ".lora_down.weight", ramp({2, 6})}, {layer + ".lora_up.weight", ramp({8, 2})}};
}

NamedTensors pair_with(const std::string& end, const torch::Tensor& tensor) {
  auto tensors = pair();
  tensors.emplace_back(kKohyaAttention + end, tensor);
  return tensors;
}

TEST(LoraReadTest, PutsCloneofsimosPairsWhereHisProgramFoundThem) {
  const TestFolder folder;
  NamedTensors tensors{{"<s1>", ramp({768})}};
  // Each down half carries its number.
  for (int i = 0; i < 144; ++i) {
    const int64_t out = i % 9 == 4 ? 8 * 10 : 10;
    tensors.emplace_back("unet:" + std::to_string(i) + ":down", torch::full({1, 10}, i, torch::kHalf));
    tensors.emplace_back("unet:" + std::to_string(i) + ":up", torch::ones({out, 1}, torch::kHalf));
  }
  for (int i = 0; i < 48; ++i) {
    tensors.emplace_back("text_encoder:" + std::to_string(i) + ":down", torch::full({1, 10}, i, torch::kHalf));
    tensors.emplace_back("text_encoder:" + std::to_string(i) + ":up", torch::ones({10, 1}, torch::kHalf));
  }
  const auto file = read(folder, tensors, {{"<s1>", "<embed>"}});
  EXPECT_EQ(file.unet.size(), 144u);
  EXPECT_EQ(file.text_encoder.size(), 48u);
  EXPECT_TRUE(file.unused.empty());
  ASSERT_EQ(file.words.size(), 1u);
  EXPECT_EQ(file.words[0].vectors.sizes(), (std::vector<int64_t>{1, 768}));
  const auto number_of = [](const std::vector<LayerChange>& changes, const std::string& path) {
    for (const auto& change : changes) {
      if (change.path == path) return change.get("down")[0][0].item<int>();
    }
    return -1;
  };
  const auto unet = [&](const std::string& path) { return number_of(file.unet, path); };
  const std::string first = "down_blocks.0.attentions.0.transformer_blocks.0.";
  EXPECT_EQ(unet(first + "attn1.to_k"), 1);
  EXPECT_EQ(unet(first + "attn1.to_out.0"), 3);
  EXPECT_EQ(unet(first + "ff.net.0.proj"), 4);
  EXPECT_EQ(unet(first + "attn2.to_q"), 5);
  EXPECT_EQ(unet("down_blocks.2.attentions.1.transformer_blocks.0.attn1.to_q"), 45);
  EXPECT_EQ(unet("up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"), 54);
  EXPECT_EQ(unet("up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_out.0"), 134);
  EXPECT_EQ(unet("mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0"), 143);
  EXPECT_EQ(number_of(file.text_encoder, "text_model.encoder.layers.0.self_attn.k_proj"), 0);
  EXPECT_EQ(number_of(file.text_encoder, "text_model.encoder.layers.0.self_attn.q_proj"), 2);
  EXPECT_EQ(number_of(file.text_encoder, "text_model.encoder.layers.11.self_attn.out_proj"), 47);
}

TEST(LoraReadTest, TellsSdxlByNamesAndWidths) {
  const TestFolder folder;
  const auto reads_text = [](int64_t width) -> NamedTensors {
    const std::string layer = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k";
    return {{layer + ".lora_down.weight", ramp({2, width})}, {layer + ".lora_up.weight", ramp({8, 2})}};
  };
  EXPECT_TRUE(read(folder, reads_text(2048)).is_sdxl);
  EXPECT_FALSE(read(folder, reads_text(768)).is_sdxl);
  EXPECT_FALSE(read(folder, reads_text(1024)).is_sdxl);
  EXPECT_FALSE(read(folder, pair()).is_sdxl);
  EXPECT_TRUE(read(folder, pair("lora_unet_down_blocks_2_attentions_0_transformer_blocks_7_attn1_to_q")).is_sdxl);
  EXPECT_FALSE(read(folder, pair("lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q")).is_sdxl);
  EXPECT_TRUE(read(folder, pair("lora_te1_text_model_encoder_layers_0_mlp_fc1")).is_sdxl);
}

TEST(LoraReadTest, PrefersDiffusersNamesWhereAFileHasBoth) {
  const TestFolder folder;
  auto tensors = pair("lora_unet_down_blocks_1_attentions_0_proj_in");
  for (const auto& entry : pair("lora_unet_input_blocks_4_1_proj_in")) tensors.push_back(entry);
  for (const auto& entry : pair("lora_unet_input_blocks_5_1_proj_in")) tensors.push_back(entry);
  const auto file = read(folder, tensors);
  ASSERT_EQ(file.unet.size(), 2u);
  EXPECT_EQ(file.unet[1].path, "down_blocks.1.attentions.1.proj_in");
  EXPECT_EQ(file.unused.size(), 2u);
}

TEST(LoraReadTest, NamesWhatItDoesNotUse) {
  const TestFolder folder;
  const std::string layer = kKohyaAttention;
  auto tensors = pair();
  const std::map<std::string, std::string> expected{
      {layer + ".oft_blocks", "OFT"},
      {"lora_unet_mid_block_attentions_0_proj_in.alpha", "no factors"},
      {"lora_unet_single_blocks_3_linear1.lora_down.weight", "is called so"},
      {"transformer.blocks.1.lora_A.weight", "no model of Stable Diffusion's"},
      {"unet.input_blocks.99.1.proj_in.lora_A.weight", "no layer of this name"},
      {"bundle_emb.cat.clip_g", "second text encoder"},
      {"lora_te_" + std::string(400, 'x') + ".alpha", "too long"},
      {"unet.down_blocks." + std::string(230, 'x') + ".lora_A.weight", "too long"},
      {"anything", "no part of a LoRA"}};
  for (const auto& [key, reason] : expected) tensors.emplace_back(key, ramp({1}));
  const auto file = read(folder, tensors);
  EXPECT_EQ(file.unet.size(), 1u);
  EXPECT_EQ(file.unused.size(), expected.size());
  for (const auto& [key, reason] : file.unused) {
    ASSERT_TRUE(expected.contains(key)) << key;
    EXPECT_NE(reason.find(expected.at(key)), std::string::npos) << key << ": " << reason;
  }
}

TEST(LoraReadTest, RefusesWhatMakesNoLayer) {
  const TestFolder folder;
  const auto expect = [&](const std::string& part, const NamedTensors& tensors) {
    SCOPED_TRACE(part);
    expect_error<FormatError>(part, [&] { read(folder, tensors); });
  };
  const std::string layer = kKohyaAttention;
  const auto one = [&](const std::string& end, const torch::Tensor& tensor) -> NamedTensors {
    return {{layer + end, tensor}};
  };
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  expect("has no up factor", one(".lora_down.weight", ramp({2, 6})));
  expect("has no down factor", one(".lora_up.weight", ramp({8, 2})));
  expect("has no w1_b factor", one(".hada_w1_a", ramp({8, 2})));
  expect("has no w2_a factor", one(".lokr_w1", ramp({8, 2})));
  expect("has no down factor", one(".lora_mid.weight", ramp({2, 2, 3, 3})));
  expect("has no diff factor", one(".dora_scale", ramp({8, 1})));
  expect("does not go with the down factor's [2, 6]",
         {{layer + ".lora_down.weight", ramp({2, 6})}, {layer + ".lora_up.weight", ramp({8, 3})}});
  expect("2 or 4 dimensions",
         {{layer + ".lora_down.weight", ramp({2, 6, 1})}, {layer + ".lora_up.weight", ramp({8, 2})}});
  expect("not finite",
         {{layer + ".lora_down.weight", torch::full({2, 6}, nan)}, {layer + ".lora_up.weight", ramp({8, 2})}});
  expect("not finite", {{layer + ".lora_down.weight", ramp({2, 6})},
                        {layer + ".lora_up.weight", torch::full({8, 2}, -inf, torch::kBFloat16)}});
  expect("floating-point type expected",
         {{layer + ".lora_down.weight", ramp({2, 6}).to(torch::kInt)}, {layer + ".lora_up.weight", ramp({8, 2})}});
  expect("holds no number",
         {{layer + ".lora_down.weight", torch::zeros({0, 6})}, {layer + ".lora_up.weight", torch::zeros({8, 0})}});
  expect("a finite number expected", pair_with(".alpha", torch::tensor(nan)));
  expect("a finite number expected", pair_with(".alpha", torch::tensor(inf)));
  expect("is 1e+300, a finite number expected", pair_with(".alpha", torch::tensor(1e300, torch::kDouble)));
  expect("one number expected", pair_with(".alpha", ramp({2})));
  expect("one number expected", pair_with(".alpha", torch::tensor(true)));
  expect("neither one length per output, of 8", pair_with(".dora_scale", ramp({7, 1})));
  expect("has a kernel of its own",
         {{layer + ".lora_down.weight", ramp({4, 6})}, {layer + ".lora_up.weight", ramp({8, 2, 2, 1})}});
  expect("has a kernel beside the middle factor's", {{layer + ".lora_down.weight", ramp({2, 6, 3, 3})},
                                                     {layer + ".lora_mid.weight", ramp({2, 2, 3, 3})},
                                                     {layer + ".lora_up.weight", ramp({8, 2})}});
  expect("but its layer is changed by a lokr", pair_with(".lokr_w1", ramp({2, 2})));
  expect("is a bias, one dimension expected", pair_with(".diff_b", ramp({8, 1})));
  expect("is a bias, one dimension expected", pair_with(".lora_B.bias", ramp({8, 1})));
  auto two_biases = pair_with(".diff_b", ramp({8}));
  two_biases.emplace_back(layer + ".lora_B.bias", ramp({8}));
  expect("is a second bias of the layer", two_biases);
  expect("does not go with w1_b of shape [3, 6]", {{layer + ".hada_w1_a", ramp({8, 2})},
                                                   {layer + ".hada_w1_b", ramp({3, 6})},
                                                   {layer + ".hada_w2_a", ramp({8, 2})},
                                                   {layer + ".hada_w2_b", ramp({2, 6})}});
  expect(
      "is there beside its factors",
      {{layer + ".lokr_w1", ramp({2, 2})}, {layer + ".lokr_w1_a", ramp({2, 1})}, {layer + ".lokr_w2", ramp({2, 2})}});
  expect("does not go between w2_a", {{layer + ".lokr_w1", ramp({2, 2})},
                                      {layer + ".lokr_w2_a", ramp({1, 2})},
                                      {layer + ".lokr_w2_b", ramp({1, 2})},
                                      {layer + ".lokr_t2", ramp({2, 1, 3, 3})}});
}

/// A few numbers that ask for a great deal.
TEST(LoraReadTest, RefusesLayersLargerThanAnyModelHas) {
  const TestFolder folder;
  const std::string layer = kKohyaAttention;
  const auto expect = [&](std::map<std::string, std::vector<int64_t>> shapes) {
    NamedTensors tensors;
    for (const auto& [end, shape] : shapes) tensors.emplace_back(layer + end, torch::ones(shape));
    expect_error<FormatError>("more than 33554432 numbers", [&] { read(folder, tensors); });
  };
  expect({{".lora_down.weight", {1, 6000}}, {".lora_up.weight", {6000, 1}}});
  expect({{".lokr_w1", {100, 100}}, {".lokr_w2", {100, 100}}});
  expect({{".lokr_w1_a", {6000, 1}}, {".lokr_w1_b", {1, 10}}, {".lokr_w2_a", {10, 1}}, {".lokr_w2_b", {1, 6000}}});
  expect({{".hada_w1_a", {6000, 1}}, {".hada_w1_b", {1, 6000}}, {".hada_w2_a", {1, 1}}, {".hada_w2_b", {1, 1}}});
  // A small weight, but much on the way to it.
  expect({{".lora_down.weight", {1, 6000}}, {".lora_mid.weight", {6000, 1, 1, 1}}, {".lora_up.weight", {1, 6000}}});
  expect({{".lora_down.weight", {6000, 1}}, {".lora_mid.weight", {1, 6000, 1, 1}}, {".lora_up.weight", {6000, 1}}});
  expect({{".lokr_w1", {1, 1}}, {".lokr_w2_a", {6000, 1}}, {".lokr_w2_b", {1, 6000}}, {".lokr_t2", {6000, 1, 1, 1}}});
}

TEST(LoraReadTest, RefusesFilesOfTooManyEntries) {
  const TestFolder folder;
  NamedTensors tensors;
  for (int i = 0; i < 30'001; ++i) tensors.emplace_back(std::to_string(i), torch::zeros({0}));
  expect_error<FormatError>("30001 entries; at most 30000 expected", [&] { read(folder, tensors); });
}

TEST(LoraReadTest, WordsMayBeSpelledLikeTheEndsOfKeys) {
  const TestFolder folder;
  const std::string end = ".string_to_param.*";
  const auto file = read(folder, {{"bundle_emb.a" + end, ramp({1, 6})}, {"bundle_emb.a" + end + end, ramp({1, 6})}});
  ASSERT_EQ(file.words.size(), 2u);
  EXPECT_EQ(file.words[0].word, "a");
  EXPECT_EQ(file.words[1].word, "a" + end);
}

TEST(LoraReadTest, LeavesOutWordsLongerThanAnyPrompt) {
  const TestFolder folder;
  auto tensors = pair();
  tensors.emplace_back("bundle_emb.cat.emb_params", ramp({78, 6}));
  tensors.emplace_back("bundle_emb." + std::string(201, 'x') + ".emb_params", ramp({1, 6}));
  const auto file = read(folder, tensors);
  EXPECT_TRUE(file.words.empty());
  ASSERT_EQ(file.unused.size(), 2u);
  EXPECT_NE(file.unused[0].reason.find("78 vectors"), std::string::npos);
  EXPECT_NE(file.unused[1].reason.find("201 bytes"), std::string::npos);
}

TEST(LoraReadTest, DoesNotWaitForPipes) {
  const TestFolder folder;
  for (const char* name : {"x.safetensors", "x.pt", "adapter_config.json"}) {
    ASSERT_EQ(::mkfifo((folder.path() / name).c_str(), 0600), 0);
  }
  expect_error<FileError>("no regular file", [&] { read_lora_file(folder.path() / "x.safetensors"); });
  expect_error<FileError>("no regular file", [&] { read_lora_file(folder.path() / "x.pt"); });
  expect_error<FileError>("no regular file", [] { read_lora_file("/dev/zero"); });
  expect_error<FileError>("", [&] { read_lora_file(folder.path() / std::string(5000, 'x')); });
  const auto file = folder.write("adapter_model.safetensors", safetensors_bytes(pair(), {}));
  EXPECT_EQ(read_lora_file(file).unet.size(), 1u);
}

TEST(LoraReadTest, RefusesTheSameLayerTwice) {
  const TestFolder folder;
  auto tensors = pair();
  tensors.emplace_back("unet." + std::string(kAttention) + ".lora_A.weight", ramp({2, 6}));
  expect_error<FormatError>("is the same factor as", [&] { read(folder, tensors); });
  expect_error<FormatError>("is the same word as", [&] {
    read(folder, {{"bundle_emb.cat.emb_params", ramp({1, 6})}, {"bundle_emb.cat.clip_l", ramp({1, 6})}});
  });
}

TEST(LoraReadTest, RefusesPairsWhoseNumbersMeanNoLayer) {
  const TestFolder folder;
  const auto pairs = [](int begin, int end) {
    NamedTensors tensors;
    for (int i = begin; i < end; ++i) {
      tensors.emplace_back("text_encoder:" + std::to_string(i) + ":down", ramp({1, 4}));
      tensors.emplace_back("text_encoder:" + std::to_string(i) + ":up", ramp({4, 1}));
    }
    return tensors;
  };
  EXPECT_EQ(read(folder, pairs(0, 48)).text_encoder.size(), 48u);
  expect_error<FormatError>("follows on pair 0, which is missing", [&] { read(folder, pairs(1, 49)); });
  expect_error<FormatError>("one of 47 pairs without names; 48 expected", [&] { read(folder, pairs(0, 47)); });
  auto half = pairs(0, 48);
  half.pop_back();
  expect_error<FormatError>("has no up factor", [&] { read(folder, half); });
  expect_error<FormatError>("one of 3 pairs without names; 144 or 128 expected", [&] {
    NamedTensors tensors;
    for (int i = 0; i < 3; ++i) tensors.emplace_back("unet:" + std::to_string(i) + ":up", ramp({4, 1}));
    read(folder, tensors);
  });
}

TEST(LoraReadTest, RefusesFilesWithoutALora) {
  const TestFolder folder;
  expect_error<FormatError>("there is no tensor in it", [&] { read(folder, {}); });
  const auto hint = expect_error<FormatError>("nothing in it is known as part of a LoRA; 'betas'", [&] {
    read(folder, {{"model.conv.weight", ramp({2, 2})}, {"betas", ramp({1000})}});
  });
  EXPECT_NE(hint.find("lora_unet_"), std::string::npos);
  expect_error<FileError>("there is no LoRA in the folder", [&] { read_lora_file(kCases.parent_path()); });
  expect_error<FileError>("nowhere.safetensors", [&] { read_lora_file(folder.path() / "nowhere.safetensors"); });
}

TEST(LoraReadTest, RefusesMetadataThatGivesNoStrength) {
  const TestFolder folder;
  const auto layer = "unet." + std::string(kAttention);
  const NamedTensors tensors{{layer + ".lora_A.weight", ramp({2, 6})}, {layer + ".lora_B.weight", ramp({8, 2})}};
  const auto with = [&](const std::string& json) { return read(folder, tensors, {{"lora_adapter_metadata", json}}); };
  EXPECT_EQ(with(R"({"unet.lora_alpha": 3})").unet[0].strength, 1.5);
  EXPECT_EQ(with(R"({"unet.r": 2, "unet.alpha_pattern": {"attn1\\.to_q": 1}})").unet[0].strength, 0.5);
  EXPECT_EQ(with(R"({"unet.lora_alpha": null})").unet[0].strength, 1);
  expect_error<FormatError>("is no JSON object", [&] { with("[1, 2"); });
  expect_error<FormatError>("is no JSON object", [&] { with(std::string(100000, '[')); });
  expect_error<FormatError>("unet.lora_alpha \"8\", a finite number expected",
                            [&] { with(R"({"unet.lora_alpha": "8"})"); });
  expect_error<FormatError>("unet.lora_alpha 1e+300, a finite number expected",
                            [&] { with(R"({"unet.lora_alpha": 1e300})"); });
  std::string dots;
  for (int i = 0; i < 300'000; ++i) dots += R"(\\.)";
  EXPECT_EQ(with(R"({"unet.lora_alpha": 3, "unet.alpha_pattern": {")" + dots + R"(": 1}})").unet[0].strength, 1.5)
      << "within the test's time";
  expect_error<FormatError>("alpha_pattern object, a finite number expected",
                            [&] { with(R"({"unet.r": 2, "unet.alpha_pattern": {"to_q": {}}})"); });
  expect_error<FormatError>("'.*to_q', a regular expression",
                            [&] { with(R"({"unet.r": 2, "unet.alpha_pattern": {".*to_q": 1}})"); });
  expect_error<FormatError>("at most 1048576 expected", [&] { with(std::string(5 << 20, ' ')); });
}

TEST(LayerNamesTest, EveryLayerOfTheModelsIsToldByItsUnderscores) {
  size_t count = 0;
  for (const char* keys : {"keys_sd15_unet.txt", "keys_sd15_text_encoder.txt", "keys_sd21_unet.txt"}) {
    std::ifstream in(std::filesystem::path("tests/data") / keys);
    for (std::string line; std::getline(in, line); ++count) {
      const std::string key = line.substr(0, line.find('\t'));
      const std::string path = key.substr(0, key.rfind('.'));
      EXPECT_EQ(dotted_path(underscored_name(path)), path);
    }
  }
  EXPECT_GT(count, 1500u);
  EXPECT_FALSE(dotted_path("down_blocks_0_attn3"));
  EXPECT_FALSE(dotted_path(""));
  EXPECT_FALSE(dotted_path("conv__in"));
}

TEST(LayerNamesTest, OriginalNamesOutsideTheLayoutMeanNothing) {
  EXPECT_EQ(diffusers_path("output_blocks.2.1.conv"), "up_blocks.0.upsamplers.0.conv");  // SD 1.x: no attention there
  EXPECT_EQ(diffusers_path("input_blocks.1.0.in_layers.0"), "down_blocks.0.resnets.0.norm1");
  const char* const wrong[] = {"input_blocks.12.0.op",
                               "input_blocks.3.1.proj_in",
                               "input_blocks.1.2.proj_in",
                               "output_blocks.12.1.proj_in",
                               "middle_block.3.in_layers.2",
                               "out.1",
                               "input_blocks.1.0.in_layers.1",
                               "input_blocks.-1.0.op",
                               "input_blocks",
                               "input_blocks.99999999999.1.conv",
                               "output_blocks.0.3.in_layers.2"};
  for (const char* path : wrong) EXPECT_FALSE(diffusers_path(path)) << path;
}

/// Flips, cuts and copies bytes; the header most often.
void mutate(std::string& bytes, std::mt19937& random) {
  const auto below = [&](size_t limit) { return static_cast<size_t>(random()) % limit; };
  for (size_t changes = 1 + below(4); changes > 0 && bytes.size() > 16; --changes) {
    const size_t at = 8 + below(below(2) ? bytes.size() - 8 : std::min<size_t>(bytes.size() - 8, 1500));
    switch (below(4)) {
      case 0:
        bytes[at] = static_cast<char>(random());
        break;
      case 1:
        bytes[at] ^= static_cast<char>(1 << below(8));
        break;
      case 2:
        bytes[at] = "0123456789\"_.:wab"[below(17)];
        break;
      default:
        bytes.replace(at, 4, bytes.substr(8 + below(bytes.size() - 8), 4));
    }
  }
  if (below(20) == 0) bytes.resize(below(bytes.size()));
}

TEST(LoraReadTest, DamagedFilesAreReadOrRefused) {
  const TestFolder folder;
  std::mt19937 random(7);
  const char* const names[] = {"peft_patterns.safetensors", "peft_dora.safetensors", "kohya_sdxl.safetensors",
                               "kohya.safetensors",         "lokr.safetensors",      "loha.safetensors",
                               "cloneofsimo.safetensors",   "bundle.safetensors",    "lycoris_full.safetensors"};
  int read_count = 0, refused = 0;
  std::chrono::steady_clock::duration longest{};
  for (const char* name : names) {
    std::ifstream in(kCases / name, std::ios::binary);
    const std::string whole{std::istreambuf_iterator<char>(in), {}};
    for (int round = 0; round < 150; ++round) {
      std::string bytes = whole;
      mutate(bytes, random);
      const auto path = folder.write(name, bytes);
      const auto begin = std::chrono::steady_clock::now();
      try {
        read_lora_file(path, small_order());
        ++read_count;
      } catch (const Error&) {
        ++refused;
      }
      longest = std::max(longest, std::chrono::steady_clock::now() - begin);
    }
  }
  EXPECT_GT(read_count, 100);
  EXPECT_GT(refused, 100);
  EXPECT_LT(longest, std::chrono::seconds(1));
}

/// Good names, wild shapes and types: what the header's checks let through.
TEST(LoraReadTest, FactorsOfAnyShapeAreReadOrRefused) {
  const TestFolder folder;
  std::mt19937 random(11);
  const auto below = [&](size_t limit) { return static_cast<size_t>(random()) % limit; };
  const std::vector<std::vector<std::string>> groups{
      {".lora_down.weight", ".lora_up.weight", ".lora_mid.weight", ".dora_scale", ".lora_B.bias",
       ".lora_magnitude_vector"},
      {".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b", ".hada_t1", ".hada_t2", ".dora_scale"},
      {".lokr_w1", ".lokr_w2", ".dora_scale", ".lokr_w1_a", ".lokr_w1_b", ".lokr_w2_a", ".lokr_w2_b", ".lokr_t2"},
      {".diff", ".diff_b", ".dora_scale", ".scale"}};
  const torch::ScalarType types[] = {torch::kFloat,       torch::kFloat,  torch::kHalf,
                                     torch::kFloat8_e5m2, torch::kDouble, torch::kLong};
  int read_count = 0, fitting = 0;
  for (int round = 0; round < 3000; ++round) {
    const auto& group = groups[below(groups.size())];
    NamedTensors tensors;
    for (size_t i = 0; i < group.size(); ++i) {
      if (i > 1 && below(3) > 0 && group[0] != ".hada_w1_a") continue;
      std::vector<int64_t> shape(below(8) > 0 ? 2 : below(5));
      if (below(5) == 0) shape.resize(4, 1);
      for (auto& size : shape) size = below(30) == 0 ? 0 : 1 + static_cast<int64_t>(below(2));
      tensors.emplace_back(kKohyaAttention + group[i], torch::ones(shape).to(types[below(20) > 0 ? 0 : below(6)]));
    }
    try {
      const auto file = read(folder, tensors);
      ASSERT_EQ(file.unet.size(), 1u);
      ++read_count;
      const auto& factors = file.unet[0].factors;
      const bool is_lora = factors.contains("up");
      const auto outputs = is_lora ? factors.at("up").size(0) : static_cast<int64_t>(1 + below(4));
      const auto inputs = is_lora ? factors.at("down").size(1) : static_cast<int64_t>(1 + below(4));
      const auto weight = torch::ones({outputs, inputs});
      check_fits(file.unet[0], weight, weight.select(1, 0));
      EXPECT_TRUE(weight_change(file.unet[0], weight, 0.5).isfinite().all().item<bool>());
      ++fitting;
    } catch (const FormatError&) {
    }
  }
  EXPECT_GT(read_count, 100);
  EXPECT_GT(fitting, 20);
}

TEST(LoraReadTest, ReadsManyLayersQuickly) {
  const TestFolder folder;
  NamedTensors tensors;
  for (int i = 0; i < 192; ++i) {
    const std::string layer =
        "lora_unet_down_blocks_0_attentions_" + std::to_string(i) + "_transformer_blocks_0_attn1_to_q";
    tensors.emplace_back(layer + ".lora_down.weight", torch::ones({4, 768}, torch::kHalf));
    tensors.emplace_back(layer + ".lora_up.weight", torch::ones({768, 4}, torch::kHalf));
    tensors.emplace_back(layer + ".alpha", torch::tensor(1.0f));
  }
  read(folder, tensors);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(read_lora_file(folder.path() / "x.safetensors").unet.size(), 192u);
  const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - begin;
  RecordProperty("milliseconds", std::to_string(taken.count()));
  EXPECT_LT(taken.count(), 200) << "ten times what it takes on an idle machine";
}

}  // namespace
}  // namespace lorikeet
