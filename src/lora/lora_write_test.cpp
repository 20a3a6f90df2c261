#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/errors.h"
#include "engine/random.h"
#include "io/safetensors.h"
#include "lora/lora_file.h"
#include "lora/lora_writer.h"

namespace lorikeet {
namespace {

using Factors = std::map<std::string, torch::Tensor>;

std::filesystem::path temporary(const std::string& name) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("lorikeet-lora-write-test-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  return folder / name;
}

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Changes with factors drawn from one stream.
class Draw {
 public:
  explicit Draw(uint64_t seed) : generator_(make_generator(seed)) {}

  torch::Tensor normal(std::vector<int64_t> sizes) { return draw_normal(sizes, generator_, torch::kFloat); }
  int64_t integer(int64_t low, int64_t high) { return draw_integer(low, high, generator_); }
  double strength() { return static_cast<double>(integer(1, 40)) / 8; }

  LayerChange change(const std::string& path, ChangeKind kind, Factors factors, double strength) {
    return {path, kind, std::move(factors), strength, false};
  }
  LayerChange linear(const std::string& path, int64_t out, int64_t in, int64_t rank, double strength) {
    return change(path, ChangeKind::kLora, {{"down", normal({rank, in})}, {"up", normal({out, rank})}}, strength);
  }
  LayerChange convolution(const std::string& path, int64_t out, int64_t in, int64_t rank, double strength) {
    return change(path, ChangeKind::kLora, {{"down", normal({rank, in, 3, 3})}, {"up", normal({out, rank, 1, 1})}},
                  strength);
  }
  LayerChange tucker(const std::string& path, int64_t out, int64_t in, int64_t rank, double strength) {
    return change(
        path, ChangeKind::kLora,
        {{"down", normal({rank, in, 1, 1})}, {"mid", normal({rank, rank, 3, 3})}, {"up", normal({out, rank, 1, 1})}},
        strength);
  }

 private:
  torch::Generator generator_;
};

const char* const kToQ = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";
const char* const kToK = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k";
const char* const kToOut = "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0";
const char* const kFeed = "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj";
const char* const kConv1 = "up_blocks.1.resnets.0.conv1";
const char* const kConv2 = "up_blocks.1.resnets.0.conv2";
const char* const kNorm = "up_blocks.1.resnets.0.norm1";
const char* const kQProj = "text_model.encoder.layers.0.self_attn.q_proj";
const char* const kFc1 = "text_model.encoder.layers.3.mlp.fc1";

/// Shapes of the weights that the changes are of; norms' have one axis.
std::vector<int64_t> weight_shape(const std::string& path) {
  if (path.find("conv") != std::string::npos) return {8, 6, 3, 3};
  if (path.find("norm") != std::string::npos) return {8};
  return {8, 6};
}

/// Plain LoRA of mixed ranks and strengths in both models.
LoraFile plain_lora(uint64_t seed) {
  Draw draw(seed);
  LoraFile file;
  for (const char* path : {kToQ, kToK, kToOut, kFeed}) {
    file.unet.push_back(draw.linear(path, 8, 6, draw.integer(1, 5), draw.strength()));
  }
  file.unet.push_back(draw.convolution(kConv1, 8, 6, draw.integer(1, 5), draw.strength()));
  file.unet.push_back(draw.tucker(kConv2, 8, 6, draw.integer(1, 4), draw.strength()));
  for (const char* path : {kQProj, kFc1}) {
    file.text_encoder.push_back(draw.linear(path, 8, 6, draw.integer(1, 5), draw.strength()));
  }
  return file;
}

/// One layer of every other kind.
LoraFile every_kind(uint64_t seed) {
  Draw draw(seed);
  const int64_t r = draw.integer(1, 4);
  LoraFile file;
  file.unet = {
      draw.change(kToQ, ChangeKind::kLoha,
                  {{"w1_a", draw.normal({8, r})},
                   {"w1_b", draw.normal({r, 6})},
                   {"w2_a", draw.normal({8, r})},
                   {"w2_b", draw.normal({r, 6})}},
                  draw.strength()),
      draw.change(kToK, ChangeKind::kLokr, {{"w1", draw.normal({2, 3})}, {"w2", draw.normal({4, 2})}}, draw.strength()),
      draw.change(kToOut, ChangeKind::kLokr,
                  {{"w1", draw.normal({2, 3})}, {"w2_a", draw.normal({4, r})}, {"w2_b", draw.normal({r, 2})}},
                  draw.strength()),
      draw.change(kFeed, ChangeKind::kLora,
                  {{"down", draw.normal({r, 6})},
                   {"up", draw.normal({8, r})},
                   {"bias", draw.normal({8})},
                   {"magnitude", draw.normal({1, 6}).abs()}},
                  draw.strength()),
      draw.change(kConv1, ChangeKind::kLoha,
                  {{"w1_a", draw.normal({r, 8})},
                   {"w1_b", draw.normal({r, 6})},
                   {"t1", draw.normal({r, r, 3, 3})},
                   {"w2_a", draw.normal({r, 8})},
                   {"w2_b", draw.normal({r, 6})},
                   {"t2", draw.normal({r, r, 3, 3})}},
                  draw.strength()),
      draw.change(kConv2, ChangeKind::kLokr,
                  {{"w1_a", draw.normal({2, r})},
                   {"w1_b", draw.normal({r, 3})},
                   {"w2", draw.normal({4, 2, 3, 3})},
                   {"magnitude", draw.normal({8, 1, 1, 1}).abs()}},
                  draw.strength()),
      draw.change(kNorm, ChangeKind::kFull, {{"diff", draw.normal({8})}, {"bias", draw.normal({8})}}, 1),
      draw.change("up_blocks.0.resnets.0.conv1", ChangeKind::kLokr,
                  {{"w1", draw.normal({2, 3})},
                   {"w2_a", draw.normal({r, 4})},
                   {"w2_b", draw.normal({r, 2})},
                   {"t2", draw.normal({r, r, 3, 3})}},
                  draw.strength()),
      draw.change("up_blocks.0.resnets.0.conv2", ChangeKind::kFull, {{"diff", draw.normal({8, 6, 3, 3})}}, 1),
      draw.tucker("up_blocks.0.resnets.1.conv2", 8, 6, 2, draw.strength()),
  };
  file.text_encoder = {draw.change(kFc1, ChangeKind::kFull, {{"bias", draw.normal({8})}}, 1)};
  file.words = {{"<s1>", draw.normal({1, 6})}, {"a bird", draw.normal({2, 6})}};
  return file;
}

LoraFile with_dora(uint64_t seed) {
  auto file = plain_lora(seed);
  Draw draw(seed + 1000);
  for (auto* layers : {&file.unet, &file.text_encoder}) {
    for (auto& change : *layers) {
      std::vector<int64_t> shape(weight_shape(change.path).size(), 1);
      shape[0] = 8;
      change.factors["magnitude"] = draw.normal(shape).abs() + 0.5;
    }
  }
  return file;
}

LoraFile with_bias(uint64_t seed) {
  auto file = plain_lora(seed);
  file.unet[1].factors["bias"] = Draw(seed + 2000).normal({8});
  return file;
}

/// SDXL's: layers and a text encoder that others lack.
LoraFile sdxl_lora(uint64_t seed) {
  auto file = plain_lora(seed);
  Draw draw(seed + 3000);
  file.is_sdxl = true;
  file.unet.push_back(draw.linear("add_embedding.linear_1", 8, 6, 2, draw.strength()));
  file.text_encoder_2 = {draw.linear(kQProj, 8, 6, 3, draw.strength()),
                         draw.linear("text_projection", 8, 6, 2, draw.strength())};
  return file;
}

/// The same paths, and the same change of each weight at two scales.
void expect_same_layers(std::vector<LayerChange> found, std::vector<LayerChange> expected) {
  const auto by_path = [](const LayerChange& left, const LayerChange& right) { return left.path < right.path; };
  std::sort(found.begin(), found.end(), by_path);
  std::sort(expected.begin(), expected.end(), by_path);
  ASSERT_EQ(found.size(), expected.size());
  Draw draw(77);
  for (size_t i = 0; i < found.size(); ++i) {
    SCOPED_TRACE(expected[i].path);
    ASSERT_EQ(found[i].path, expected[i].path);
    const auto weight = draw.normal(weight_shape(found[i].path));
    expected[i].scales_inside = found[i].scales_inside;
    for (const double scale : {1.0, 0.3}) {
      const auto ours = weight_change(found[i], weight, scale), theirs = weight_change(expected[i], weight, scale);
      EXPECT_LE((ours - theirs).abs().max().item<float>(), 1e-6 * theirs.abs().max().item<float>());
    }
    ASSERT_EQ(found[i].has("bias"), expected[i].has("bias"));
    if (!found[i].has("bias")) continue;
    EXPECT_TRUE(torch::allclose(found[i].get("bias"), expected[i].get("bias"), 1e-6, 1e-7));
  }
}

void expect_round_trip(const LoraFile& file, LoraDialect dialect, LoraDialect expected_dialect) {
  SCOPED_TRACE(dialect_name(dialect));
  const auto path = temporary("round.safetensors"), again = temporary("round/round.safetensors");
  std::filesystem::create_directories(again.parent_path());
  write_lora_file(path, file, {dialect});
  write_lora_file(again, file, {dialect});
  EXPECT_EQ(bytes_of(path), bytes_of(again));
  const auto read = read_lora_file(path);
  EXPECT_EQ(read.dialect, expected_dialect);
  EXPECT_TRUE(read.unused.empty());
  EXPECT_EQ(read.is_sdxl, file.is_sdxl);
  expect_same_layers(read.unet, file.unet);
  expect_same_layers(read.text_encoder, file.text_encoder);
  expect_same_layers(read.text_encoder_2, file.text_encoder_2);
  if (dialect != LoraDialect::kKohya) return;
  ASSERT_EQ(read.words.size(), file.words.size());
  for (size_t i = 0; i < file.words.size(); ++i) {
    const auto same = [&](const LearnedWord& word) {
      return word.word == file.words[i].word && torch::equal(word.vectors, file.words[i].vectors);
    };
    EXPECT_TRUE(std::any_of(read.words.begin(), read.words.end(), same)) << file.words[i].word;
  }
}

template <class Exception>
void expect_refusal(const LoraFile& file, const LoraWriteOptions& options, const std::vector<std::string>& parts) {
  const auto path = temporary("refused.safetensors");
  try {
    write_lora_file(path, file, options);
    ADD_FAILURE() << "written";
  } catch (const Exception& error) {
    for (const auto& part : parts) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what() << " lacks " << part;
    }
    EXPECT_FALSE(error.hint().empty());
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

std::vector<std::string> keys(const std::filesystem::path& path) {
  auto names = SafetensorsFile::open(path).names();
  std::sort(names.begin(), names.end());
  return names;
}

LoraFile one_layer(const LayerChange& change) {
  LoraFile file;
  file.unet = {change};
  return file;
}

TEST(LoraWrite, ReadsBackAsItWas) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    for (const auto dialect : {LoraDialect::kDiffusers, LoraDialect::kPeft, LoraDialect::kKohya}) {
      expect_round_trip(plain_lora(seed), dialect, dialect);
      expect_round_trip(sdxl_lora(seed), dialect, dialect);
    }
    for (const auto& file : {with_dora(seed), with_bias(seed)}) {
      expect_round_trip(file, LoraDialect::kDiffusers, LoraDialect::kPeft);
      expect_round_trip(file, LoraDialect::kPeft, LoraDialect::kPeft);
      expect_round_trip(file, LoraDialect::kKohya, LoraDialect::kKohya);
    }
    expect_round_trip(every_kind(seed), LoraDialect::kKohya, LoraDialect::kKohya);
  }
}

TEST(LoraWrite, DiffusersFileHasTheKeysOfItsTrainingScripts) {
  Draw draw(1);
  LoraFile file;
  file.unet = {draw.linear(kToOut, 8, 6, 2, 1)};
  file.text_encoder = {draw.linear(kQProj, 8, 6, 2, 0.5)};
  const auto path = temporary("diffusers.safetensors");
  write_lora_file(path, file);
  const std::string unet = std::string("unet.") + kToOut + ".lora.";
  const std::string text = std::string("text_encoder.") + kQProj + ".lora_linear_layer.";
  EXPECT_EQ(keys(path),
            (std::vector{text + "down.weight", text + "up.weight", unet + "down.weight", unet + "up.weight"}));
  const auto read = SafetensorsFile::open(path);
  EXPECT_EQ(read.metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
  EXPECT_TRUE(torch::equal(read.tensor(unet + "up.weight"), file.unet[0].get("up")));
  EXPECT_TRUE(torch::equal(read.tensor(text + "up.weight"), file.text_encoder[0].get("up") * 0.5));
}

TEST(LoraWrite, PeftMetadataHoldsRanksAndAlphas) {
  Draw draw(2);
  LoraFile file;
  file.unet = {draw.linear(kToQ, 8, 6, 4, 1), draw.linear(kToOut, 8, 6, 4, 1), draw.linear(kToK, 8, 6, 2, 0.25)};
  file.text_encoder = {draw.linear(kQProj, 8, 6, 3, 2)};
  const auto path = temporary("peft.safetensors");
  write_lora_file(path, file,
                  {LoraDialect::kPeft, torch::kFloat, {{"lora_adapter_metadata", "stale"}, {"mine", "kept"}}});
  const auto read = SafetensorsFile::open(path);
  EXPECT_EQ(read.metadata().at("mine"), "kept");
  const auto json = nlohmann::json::parse(read.metadata().at("lora_adapter_metadata"));
  EXPECT_EQ(json.at("unet.r"), 4);
  EXPECT_EQ(json.at("unet.lora_alpha"), 4);
  EXPECT_EQ(json.at("unet.rank_pattern"), nlohmann::json({{kToK, 2}}));
  EXPECT_EQ(json.at("unet.alpha_pattern"), nlohmann::json({{kToK, 0.5}}));
  EXPECT_EQ(json.at("unet.target_modules"), nlohmann::json({kToQ, kToK, kToOut}));
  EXPECT_EQ(json.at("unet.use_dora"), false);
  EXPECT_EQ(json.at("text_encoder.lora_alpha"), 6);
  EXPECT_EQ(json.at("text_encoder.target_modules"), nlohmann::json({"encoder.layers.0.self_attn.q_proj"}));
}

TEST(LoraWrite, DoraAndBiasesGoIntoPeftsDialect) {
  const auto path = temporary("dora.safetensors");
  write_lora_file(path, with_dora(3));
  auto read = SafetensorsFile::open(path);
  const std::string name = std::string("unet.") + kConv1;
  EXPECT_EQ(read.shape(name + ".lora_magnitude_vector"), (std::vector<int64_t>{1, 8, 1, 1}));
  EXPECT_EQ(read.shape(std::string("text_encoder.") + kFc1 + ".lora_magnitude_vector.weight"),
            (std::vector<int64_t>{8}));
  EXPECT_EQ(nlohmann::json::parse(read.metadata().at("lora_adapter_metadata")).at("unet.use_dora"), true);
  auto file = with_bias(3);
  file.unet[1].strength = 0.5;
  write_lora_file(path, file);
  read = SafetensorsFile::open(path);
  const auto bias = read.tensor(std::string("unet.") + kToK + ".lora_B.bias");
  EXPECT_TRUE(torch::allclose(bias, file.unet[1].get("bias") * 2)) << "PEFT multiplies it by the strength";
  EXPECT_EQ(read.tensor(name + ".lora_B.bias").abs().max().item<float>(), 0) << "PEFT has it in all layers or none";
}

TEST(LoraWrite, KohyaHasOneAlphaForLinearLayers) {
  Draw draw(4);
  LoraFile file;
  file.unet = {draw.linear(kToQ, 8, 6, 4, 0.25), draw.linear(kToOut, 8, 6, 4, 0.25), draw.linear(kToK, 8, 6, 2, 3),
               draw.convolution(kConv1, 8, 6, 2, 2)};
  file.text_encoder = {draw.linear(kQProj, 8, 6, 4, 1)};
  const auto path = temporary("kohya.safetensors");
  write_lora_file(path, file, {LoraDialect::kKohya});
  const auto read = SafetensorsFile::open(path);
  const auto alpha = [&](const std::string& name) { return read.tensor(name + ".alpha").item<float>(); };
  EXPECT_EQ(alpha("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"), 1);
  EXPECT_EQ(alpha("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"), 1);
  EXPECT_EQ(alpha("lora_te_text_model_encoder_layers_0_self_attn_q_proj"), 1);
  EXPECT_EQ(alpha("lora_unet_up_blocks_1_resnets_0_conv1"), 4);
  const auto& metadata = read.metadata();
  EXPECT_EQ(metadata.at("ss_network_module"), "networks.lora");
  EXPECT_EQ(metadata.at("ss_network_dim"), "Dynamic");
  EXPECT_EQ(metadata.at("ss_network_alpha"), "1.0");
  EXPECT_EQ(nlohmann::json::parse(metadata.at("ss_network_args")),
            nlohmann::json({{"conv_dim", "2"}, {"conv_alpha", "4.0"}}));
}

TEST(LoraWrite, KohyaNamesFollowTheBaseModel) {
  Draw draw(5);
  const auto path = temporary("family.safetensors");
  const auto metadata = [&](LoraFile file, std::map<std::string, std::string> given) {
    write_lora_file(path, file, {LoraDialect::kKohya, torch::kFloat, std::move(given)});
    return SafetensorsFile::open(path).metadata();
  };
  auto found = metadata(one_layer(draw.linear(kToK, 8, 768, 2, 1)), {});
  EXPECT_EQ(found.at("ss_base_model_version"), "sd_v1");
  EXPECT_EQ(found.at("modelspec.architecture"), "stable-diffusion-v1/lora");
  EXPECT_EQ(found.at("modelspec.title"), "family");
  found =
      metadata(one_layer(draw.linear(kToK, 8, 1024, 2, 1)), {{"ss_output_name", "bird"}, {"ss_network_dim", "128"}});
  EXPECT_EQ(found.at("ss_base_model_version"), "sd_v2");
  EXPECT_EQ(found.at("ss_v2"), "True");
  EXPECT_EQ(found.at("modelspec.title"), "bird");
  EXPECT_EQ(found.at("ss_network_dim"), "2");
  auto file = one_layer(draw.linear(kToK, 8, 2048, 2, 1));
  file.is_sdxl = true;
  file.text_encoder = file.text_encoder_2 = {draw.linear(kQProj, 8, 6, 2, 1)};
  found = metadata(file, {{"ss_base_model_version", "sdxl_base_v0-9"}});
  EXPECT_EQ(found.at("ss_base_model_version"), "sdxl_base_v0-9");
  EXPECT_EQ(found.at("modelspec.architecture"), "stable-diffusion-xl-v1-base/lora");
  const auto read = SafetensorsFile::open(path);
  EXPECT_TRUE(read.contains("lora_te1_text_model_encoder_layers_0_self_attn_q_proj.alpha"));
  EXPECT_TRUE(read.contains("lora_te2_text_model_encoder_layers_0_self_attn_q_proj.alpha"));
}

TEST(LoraWrite, KohyaUsesLycorisWords) {
  const auto path = temporary("lycoris.safetensors");
  write_lora_file(path, every_kind(6), {LoraDialect::kKohya, torch::kHalf});
  const auto read = SafetensorsFile::open(path);
  for (const char* key :
       {"lora_unet_up_blocks_1_resnets_0_conv1.hada_t1", "lora_unet_up_blocks_1_resnets_0_conv2.lokr_w1_a",
        "lora_unet_up_blocks_1_resnets_0_conv2.dora_scale", "lora_unet_up_blocks_1_resnets_0_norm1.w_norm",
        "lora_unet_up_blocks_1_resnets_0_norm1.b_norm", "lora_unet_up_blocks_0_resnets_0_conv2.diff",
        "lora_unet_up_blocks_0_resnets_1_conv2.lora_mid.weight",
        "lora_te_text_model_encoder_layers_3_mlp_fc1.diff_b"}) {
    ASSERT_TRUE(read.contains(key)) << key;
    EXPECT_EQ(read.dtype(key), torch::kHalf);
  }
  EXPECT_EQ(read.dtype("bundle_emb.a bird.string_to_param.*"), torch::kFloat);
  EXPECT_FALSE(read.contains("lora_unet_up_blocks_0_resnets_0_conv2.alpha")) << "a difference has no strength";
  EXPECT_EQ(read.metadata().at("ss_network_module"), "lycoris.kohya");
  EXPECT_EQ(nlohmann::json::parse(read.metadata().at("ss_network_args")).at("algo"), "lokr");
}

TEST(LoraWrite, StrengthZeroChangesNothing) {
  Draw draw(7);
  LoraFile file;
  file.unet = {draw.linear(kToQ, 8, 6, 2, 0), draw.linear(kToK, 8, 6, 2, 1)};
  for (const auto dialect : {LoraDialect::kDiffusers, LoraDialect::kPeft, LoraDialect::kKohya}) {
    const auto path = temporary("zero.safetensors");
    write_lora_file(path, file, {dialect});
    for (const auto& change : read_lora_file(path).unet) {
      const bool changes = weight_product(change, {8, 6}).abs().max().item<float>() > 0;
      EXPECT_EQ(changes, change.path == kToK) << dialect_name(dialect);
    }
  }
}

TEST(LoraWrite, ForgetsWhatAnotherFileSaidOfItsLayout) {
  Draw draw(8);
  const auto path = temporary("layout.safetensors");
  write_lora_file(
      path, one_layer(draw.linear(kToQ, 8, 6, 2, 1)),
      {LoraDialect::kDiffusers,
       torch::kFloat,
       {{"unet", "[]"}, {"unet:0:rank", "4"}, {"<s1>", "<embed>"}, {"sshs_model_hash", "0"}, {"ss_tag", "a"}}});
  EXPECT_EQ(SafetensorsFile::open(path).metadata(),
            (std::map<std::string, std::string>{{"format", "pt"}, {"ss_tag", "a"}}));
}

TEST(LoraWrite, RefusesWhatADialectCannotHold) {
  for (const auto dialect : {LoraDialect::kDiffusers, LoraDialect::kPeft}) {
    const std::string name = dialect_name(dialect);
    for (const auto& change : every_kind(9).unet) {
      if (change.kind == ChangeKind::kLora) continue;
      expect_refusal<FormatError>(one_layer(change), {dialect}, {"unet." + change.path, kind_name(change.kind), name});
    }
    auto file = with_dora(9);
    file.unet[0].factors["magnitude"] = torch::ones({1, 6});
    expect_refusal<FormatError>(file, {dialect}, {kToQ, "each input"});
    file = with_dora(9);
    file.unet[0].factors.erase("magnitude");
    expect_refusal<FormatError>(file, {dialect}, {kToQ, "without DoRA"});
    file = with_dora(9);
    file.unet[0].factors["bias"] = torch::ones({8});
    expect_refusal<FormatError>(file, {dialect}, {kToQ, "DoRA and biases"});
  }
}

TEST(LoraWrite, RefusesWhatIsNoFile) {
  Draw draw(10);
  const auto plain = one_layer(draw.linear(kToQ, 8, 6, 2, 1));
  expect_refusal<FormatError>({}, {}, {"no layer"});
  expect_refusal<FormatError>(plain, {LoraDialect::kCloneofsimo}, {"cloneofsimo"});
  auto file = plain;
  file.unet[0].strength = std::numeric_limits<double>::infinity();
  expect_refusal<FormatError>(file, {}, {kToQ, "inf"});
  file.unet[0].strength = 1e300;
  for (const auto dialect : {LoraDialect::kDiffusers, LoraDialect::kKohya}) {
    expect_refusal<FormatError>(file, {dialect}, {"to_q", "not finite"});
  }
  file = plain;
  file.unet[0].factors["up"][1][1] = 70000;
  expect_refusal<FormatError>(file, {LoraDialect::kDiffusers, torch::kHalf}, {kToQ, "70000", "Half"});
  EXPECT_NO_THROW(write_lora_file(temporary("large.safetensors"), file, {LoraDialect::kDiffusers, torch::kBFloat16}));
}

}  // namespace
}  // namespace lorikeet
