// tests/data/single_file/*.txt hold what Diffusers makes of every key; made by tools/reference/single_file.py.
#include "pipelines/single_file.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "core/errors.h"
#include "core/text.h"
#include "io/file_test_support.h"
#include "io/safetensors.h"
#include "models/autoencoder_kl.h"
#include "models/clip_text_model.h"
#include "models/unet.h"
#include "pipelines/original_layout.h"
#include "pipelines/original_part.h"
#include "pipelines/single_file_writer.h"

namespace lorikeet {
namespace {

const std::filesystem::path kBase = "models/lorikeet-base";
constexpr const char* kWidth = "how many heads and groups it has cannot be told";

/// A module of a list: what it is called in the original, what the peer makes of it, and the ends of its tensors.
struct Line {
  std::string original;
  std::vector<std::string> diffusers, ends;
};

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, at);) parts.push_back(part);
  return parts;
}

std::vector<Line> list(const std::string& name) {
  std::vector<Line> lines;
  std::ifstream in("tests/data/single_file/" + name + ".txt");
  for (std::string text; std::getline(in, text);) {
    const auto words = split(text, ' ');
    lines.push_back({words.at(0), split(words.at(1), ','), split(words.at(2), ',')});
  }
  return lines;
}

/// All tensors of a file of Diffusers' keys, in their shapes, but all of one element in memory.
std::map<std::string, torch::Tensor> keys(const std::string& name) {
  std::map<std::string, torch::Tensor> tensors;
  std::ifstream in("tests/data/keys_" + name + ".txt");
  for (std::string text; std::getline(in, text);) {
    const auto words = split(text, '\t');
    std::vector<int64_t> shape;
    for (const auto& size : split(words.at(1).substr(1), 'x')) shape.push_back(std::stoll(size));
    tensors[words.at(0)] = torch::zeros({1}).expand(shape);
  }
  return tensors;
}

using Tensors = std::vector<std::pair<std::string, torch::Tensor>>;

std::string original_tensor(const Line& line, const std::string& end) {
  if (line.original.ends_with("positional_embedding")) return line.original;
  return line.original + (line.original.ends_with(".in_proj") ? "_" : ".") + end;
}

/// A file of the real size, by the peer's lists.
Tensors real_file(const std::string& unet, const std::string& text) {
  Tensors file;
  const auto add = [&](const std::string& name, const std::map<std::string, torch::Tensor>& tensors) {
    for (const auto& line : list(name)) {
      for (const auto& end : line.ends) {
        auto tensor = tensors.at(line.diffusers.at(0) + "." + end);
        auto shape = tensor.sizes().vec();
        if (line.diffusers.size() == 3) shape[0] *= 3;
        const bool was_convolution = line.original.find(".attn_1.") != std::string::npos && shape.size() == 2;
        if (was_convolution) shape.insert(shape.end(), {1, 1});
        file.emplace_back(original_tensor(line, end), torch::zeros({1}).expand(shape));
      }
    }
  };
  add("unet", keys(unet));
  add("vae", keys("sd_vae"));
  if (text == "sd21_text_encoder") {
    add("open_clip", keys(text));
  } else {
    for (const auto& [key, tensor] : keys(text)) file.emplace_back(kOriginalClip + key, tensor);
  }
  return file;
}

SingleFile opened(Tensors tensors, std::optional<int64_t> step = {}, std::map<std::string, std::string> metadata = {}) {
  return SingleFile(WeightsFile{weights_from_tensors(std::move(tensors), "a file"), std::move(metadata), step});
}

void expect_keys(const WeightSource& part, const std::string& name) {
  const auto wanted = keys(name);
  const auto names = part.names();
  std::set<std::string> wanted_names;
  for (const auto& [key, tensor] : wanted) wanted_names.insert(key);
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()), wanted_names);
  for (const auto& [key, tensor] : wanted) {
    if (!part.contains(key)) continue;  // told above
    EXPECT_EQ(part.tensor(key).sizes(), tensor.sizes()) << key;
  }
}

/// The class takes the config, and the tensors in their shapes.
template <class Model>
void expect_fits(const ModelPart& part) {
  const auto model = Model::from_config(part.config);
  for (const auto& parameter : model->named_parameters()) {
    ASSERT_TRUE(part.weights->contains(parameter.key())) << parameter.key();
    EXPECT_EQ(part.weights->tensor(parameter.key()).sizes(), parameter.value().sizes()) << parameter.key();
  }
}

TEST(SingleFile, TranslatesEveryNameOfRealModelsAsDiffusersDoes) {
  for (const std::string part : {"unet", "vae", "open_clip"}) {
    SCOPED_TRACE(part);
    const auto lines = list(part);
    ASSERT_GT(lines.size(), 100u);
    const std::string prefix = part == "unet" ? kOriginalUNet : part == "vae" ? kOriginalVae : kOriginalOpenClip;
    std::vector<std::string> originals, diffusers;
    for (const auto& line : lines) {
      for (const auto& end : line.ends) {
        originals.push_back(original_tensor(line, end).substr(prefix.size()));
        for (const auto& module : line.diffusers) diffusers.push_back(module + "." + end);
      }
    }
    const auto names = [&](Layout layout) {
      const auto& known = layout == Layout::kOriginal ? originals : diffusers;
      return part == "unet"  ? unet_names(known, layout)
             : part == "vae" ? vae_names(known, layout)
                             : open_clip_names(23);
    };
    const auto reading = names(Layout::kOriginal), writing = names(Layout::kDiffusers);
    for (const auto& line : lines) {
      if (line.diffusers.size() == 3) continue;  // in_proj, tried by its values below
      for (const auto& end : line.ends) {
        const auto original = original_tensor(line, end).substr(prefix.size());
        const auto theirs = line.diffusers[0] + "." + end;
        EXPECT_EQ(reading.diffusers(original), theirs);
        EXPECT_EQ(writing.original(theirs), original);
      }
    }
  }
}

TEST(SingleFile, NamesWithoutAPlaceStayUntranslated) {
  const auto names = unet_names({"input_blocks.0.0.weight", "input_blocks.1.0.in_layers.0.weight"}, Layout::kOriginal);
  EXPECT_EQ(names.diffusers("input_blocks.1.0.in_layers.0.weight"), "down_blocks.0.resnets.0.norm1.weight");
  for (const char* name : {"input_blocks.1.0.in_layers.1.weight", "input_blocks.2.0.in_layers.0.weight", "out.1.weight",
                           "input_blocks.1.1.norm.weight", "input_blocks", ""}) {
    EXPECT_EQ(names.diffusers(name), std::nullopt) << name;
  }
  EXPECT_EQ(count_after({"a.0.x", "a.1.x", "a.3.x", "a.-1.x", "a.99999999999999999999.x", "a.2"}, "a."), 2);
}

TEST(SingleFile, OfStableDiffusion15GivesItsConfigsAndTensors) {
  auto tensors = real_file("sd15_unet", "sd15_text_encoder");
  for (const char* passed_over :
       {"alphas_cumprod", "model_ema.diffusion_modelinput_blocks00weight", "first_stage_model.loss.logvar",
        "cond_stage_model.transformer.logit_scale", "scale_factor"}) {
    tensors.emplace_back(passed_over, torch::zeros({2}));
  }
  const auto file = opened(tensors);
  EXPECT_FALSE(file.is_version_2());
  EXPECT_EQ(file.prediction_type(), "epsilon");
  EXPECT_FALSE(file.guesses_prediction_type());
  const auto unet = file.part("unet", {}), vae = file.part("vae", {}), text = file.part("text_encoder", {});
  expect_keys(*unet.weights, "sd15_unet");
  expect_keys(*vae.weights, "sd_vae");
  expect_keys(*text.weights, "sd15_text_encoder");
  expect_fits<UNet2DConditionModel>(unet);
  expect_fits<AutoencoderKL>(vae);
  expect_fits<CLIPTextModel>(text);
  EXPECT_EQ(unet.config["attention_head_dim"], 8);
  EXPECT_EQ(unet.config["sample_size"], 64);
  EXPECT_EQ(unet.config["use_linear_projection"], false);
  EXPECT_EQ(text.config["num_attention_heads"], 12);
  EXPECT_EQ(text.config["hidden_act"], "quick_gelu");
  EXPECT_EQ(vae.config["sample_size"], 512);
  EXPECT_EQ(file.scheduler_config()["_class_name"], "PNDMScheduler");
}

TEST(SingleFile, OfStableDiffusion21GivesItsConfigsAndTensors) {
  auto tensors = real_file("sd21_unet", "sd21_text_encoder");
  // The last of OpenCLIP's 24 layers, which Stable Diffusion does not use.
  for (const char* end : {"ln_1.weight", "attn.in_proj_weight", "mlp.c_fc.bias"}) {
    tensors.emplace_back(str(kOriginalOpenClip, "transformer.resblocks.23.", end), torch::zeros({3}));
  }
  tensors.emplace_back(str(kOriginalOpenClip, "text_projection"), torch::zeros({2}));
  const auto file = opened(tensors);
  EXPECT_TRUE(file.is_version_2());
  const auto unet = file.part("unet", {}), vae = file.part("vae", {}), text = file.part("text_encoder", {});
  expect_keys(*unet.weights, "sd21_unet");
  expect_keys(*text.weights, "sd21_text_encoder");
  expect_fits<UNet2DConditionModel>(unet);
  expect_fits<CLIPTextModel>(text);
  EXPECT_EQ(unet.config["attention_head_dim"], (std::vector<int>{5, 10, 20, 20}));
  EXPECT_EQ(unet.config["sample_size"], 96);
  EXPECT_EQ(vae.config["sample_size"], 768);
  EXPECT_EQ(text.config["num_hidden_layers"], 23);
  EXPECT_EQ(text.config["hidden_act"], "gelu");
}

TEST(SingleFile, TellsWhatItPredictsOrTakesIt) {
  const auto version_2 = real_file("sd21_unet", "sd21_text_encoder");
  const auto expect = [](const SingleFile& file, const std::string& type, bool guessed) {
    EXPECT_EQ(file.prediction_type(), type);
    EXPECT_EQ(file.guesses_prediction_type(), guessed);
    EXPECT_EQ(file.scheduler_config()["prediction_type"], type);
    EXPECT_EQ(file.scheduler_config()["_class_name"], type == "epsilon" ? "PNDMScheduler" : "DDIMScheduler");
  };
  expect(opened(version_2), "v_prediction", true);
  expect(opened(version_2, 140000), "v_prediction", true);
  expect(opened(version_2, 875000), "epsilon", false);
  expect(opened(version_2, {}, {{"modelspec.prediction_type", "epsilon"}}), "epsilon", false);
  expect(opened(version_2, 875000, {{"modelspec.prediction_type", "v"}}), "v_prediction", false);
  expect(opened(version_2, {}, {{"modelspec.prediction_type", "x"}}), "v_prediction", true);
  EXPECT_EQ(opened(version_2, 875000).part("unet", {}).config["sample_size"], 64);
}

/// A file of one element per tensor, of which only names count, with changes.
Tensors outline(const std::map<std::string, std::vector<int64_t>>& changed,
                const std::set<std::string>& left_out = {}) {
  std::map<std::string, std::vector<int64_t>> shapes = {
      {"model.diffusion_model.input_blocks.0.0.weight", {320, 4, 3, 3}},
      {"first_stage_model.encoder.conv_in.weight", {128, 3, 3, 3}},
      {"cond_stage_model.transformer.x", {1}}};
  for (const auto& [name, shape] : changed) shapes[name] = shape;
  Tensors tensors;
  for (const auto& [name, shape] : shapes) {
    if (!left_out.contains(name)) tensors.emplace_back(name, torch::zeros({1}).expand(shape));
  }
  return tensors;
}

TEST(SingleFile, OfAnotherModelIsToldByName) {
  EXPECT_NO_THROW(opened(outline({})));
  const std::map<std::string, std::string> others = {
      {"conditioner.embedders.0.transformer.x", "is a Stable Diffusion XL model"},
      {"model.diffusion_model.joint_blocks.0.x", "is a Stable Diffusion 3 model"},
      {"double_blocks.0.x", "is a Flux model"},
      {"control_model.x", "is a ControlNet"},
      {"lora_unet_down_blocks_0.alpha", "is a LoRA"},
      {"unet.down_blocks.0.x.lora_A.weight", "is a LoRA, or"},
      {"down_blocks.0.x", "is a UNet in Diffusers' layout"},
      {"model.diffusion_model.label_emb.0.0.weight", "conditioned on more than a text"}};
  for (const auto& [name, refusal] : others) {
    const auto hint = expect_error<FormatError>(refusal, [&] { opened(outline({{name, {1}}})); });
    EXPECT_NE(hint.find("Stable Diffusion 1.x and 2.x"), std::string::npos);
  }
  const std::string first = "model.diffusion_model.input_blocks.0.0.weight";
  expect_error<FormatError>("is no Stable Diffusion model in the original layout: there is no " + first,
                            [&] { opened(outline({}, {first})); });
  for (const auto& [channels, kind] : std::map<int64_t, std::string>{{9, "takes 9 channels (an inpainting model)"},
                                                                     {8, "instruct-pix2pix"},
                                                                     {5, "depth"},
                                                                     {7, "upscaler"},
                                                                     {6, "takes 6 channels, expected 4"}}) {
    expect_error<FormatError>(kind, [&] { opened(outline({{first, {320, channels, 3, 3}}})); });
  }
  expect_error<FormatError>("is [1], expected 4 dimensions", [&] { opened(outline({{first, {1}}})); });
  expect_error<FormatError>("has no VAE", [&] { opened(outline({}, {"first_stage_model.encoder.conv_in.weight"})); });
  expect_error<FormatError>("has no text encoder", [&] { opened(outline({}, {"cond_stage_model.transformer.x"})); });
  expect_error<FormatError>("has no part safety_checker", [&] { opened(outline({})).part("safety_checker", {}); });
}

TEST(SingleFile, DamagedTensorsAreToldBeforeAModelIsMade) {
  const auto real = real_file("sd15_unet", "sd15_text_encoder");
  const auto changed = [&](const std::string& name, std::vector<int64_t> shape) {
    auto tensors = real;
    bool found = false;
    for (auto& [key, tensor] : tensors) {
      if (key != name) continue;
      found = true;
      tensor = torch::zeros({1}).expand(shape);
    }
    EXPECT_TRUE(found) << name;
    return opened(tensors);
  };
  const std::string block = "model.diffusion_model.input_blocks.1.0.out_layers.3.weight";
  expect_error<FormatError>("makes 320 channels of 8", [&] { changed(block, {320, 8, 3, 3}).part("unet", {}); });
  expect_error<FormatError>("is [320]", [&] { changed(block, {320}).part("unet", {}); });
  expect_error<FormatError>(kWidth, [&] { changed(block, {64, 64, 3, 3}).part("unet", {}); });
  expect_error<FormatError>("expected 4 dimensions of a model's sizes", [&] {
    changed(block, {1 << 20, 1 << 20, 1, 1}).part("unet", {});
  });
  expect_error<FormatError>("is [0, 0, 3, 3]", [&] { changed(block, {0, 0, 3, 3}).part("unet", {}); });
  const auto hint = expect_error<FormatError>("the VAE's first block is 64 wide, not 128", [&] {
    changed("first_stage_model.encoder.conv_in.weight", {64, 3, 3, 3}).part("vae", {});
  });
  EXPECT_NE(hint.find("--single_file_config=FOLDER"), std::string::npos) << hint;
  expect_error<FormatError>("the text encoder is 512 wide, not 768", [&] {
    changed("cond_stage_model.transformer.text_model.embeddings.token_embedding.weight", {49408, 512})
        .part("text_encoder", {});
  });
  expect_error<FormatError>("has 0 of down_blocks.N", [] { opened(outline({})).part("unet", {}); });
}

TEST(SingleFile, SplitsInProjIntoQueryKeyAndValue) {
  const std::string layer = std::string(kOriginalOpenClip) + "transformer.resblocks.0.attn.";
  const auto source = [&](const torch::Tensor& weight) {
    return std::shared_ptr<const WeightSource>(weights_from_tensors(
        {{layer + "in_proj_weight", weight}, {layer + "in_proj_bias", torch::arange(6)}}, "a file"));
  };
  const auto weight = torch::arange(12).reshape({6, 2});
  const auto part = original_open_clip(source(weight), 1);
  const std::string attention = "text_model.encoder.layers.0.self_attn.";
  EXPECT_TRUE(torch::equal(part->tensor(attention + "q_proj.weight"), weight.slice(0, 0, 2)));
  EXPECT_TRUE(torch::equal(part->tensor(attention + "k_proj.weight"), weight.slice(0, 2, 4)));
  EXPECT_TRUE(torch::equal(part->tensor(attention + "v_proj.weight"), weight.slice(0, 4, 6)));
  EXPECT_TRUE(torch::equal(part->tensor(attention + "v_proj.bias"), torch::arange(4, 6)));
  expect_error<FormatError>("in_proj_weight' is [5, 2]; expected query, key and value", [&] {
    original_open_clip(source(torch::zeros({5, 2})), 1)->tensor(attention + "q_proj.weight");
  });
}

TEST(SingleFile, ATensorUnderTwoNamesIsRefused) {
  const auto named = [](const char* name) { return std::string(kOriginalVae) + "encoder." + name + ".weight"; };
  const auto file = std::shared_ptr<const WeightSource>(weights_from_tensors(
      {{named("norm_out"), torch::zeros({1})}, {named("conv_norm_out"), torch::zeros({1})}}, "a file"));
  expect_error<FormatError>("'first_stage_model.encoder.conv_norm_out.weight' and", [&] { original_vae(file); });
}

/// Every part of `file` equals the folder's.
void expect_same(const SingleFile& file, const std::map<std::string, std::unique_ptr<WeightSource>>& parts) {
  for (const auto& [name, wanted] : parts) {
    const auto part = file.part(name, nlohmann::json{{"num_hidden_layers", 3}});
    auto names = part.weights->names(), wanted_names = wanted->names();
    for (auto& key : wanted_names) {
      if (name == "text_encoder" && !key.starts_with("text_model.")) key = "text_model." + key;
    }
    std::sort(names.begin(), names.end());
    std::sort(wanted_names.begin(), wanted_names.end());
    EXPECT_EQ(names, wanted_names) << name;
    for (const auto& key : wanted->names()) {
      const bool short_name = name == "text_encoder" && !key.starts_with("text_model.");
      const auto tensor = part.weights->tensor(short_name ? "text_model." + key : key);
      EXPECT_EQ(tensor.scalar_type(), wanted->tensor(key).scalar_type()) << key;
      EXPECT_TRUE(torch::equal(tensor, wanted->tensor(key))) << key;
    }
  }
}

TEST(SingleFileWriter, WhatItWritesIsReadAsItWas) {
  for (const bool open_clip : {false, true}) {
    SCOPED_TRACE(open_clip);
    TestFolder folder;
    std::map<std::string, std::unique_ptr<WeightSource>> parts;
    parts["unet"] = open_weights(kBase / "unet", "diffusion_pytorch_model");
    parts["vae"] = open_weights(kBase / "vae", "diffusion_pytorch_model");
    parts["text_encoder"] = open_weights(kBase / "text_encoder", "model");
    const auto path = folder.path() / "model.safetensors";
    write_single_file(path, {*parts["unet"], *parts["vae"], *parts["text_encoder"], open_clip}, {{"k", "v"}});
    const auto written = SafetensorsFile::open(path);
    EXPECT_EQ(written.metadata(), (std::map<std::string, std::string>{{"format", "pt"}, {"k", "v"}}));
    EXPECT_EQ(written.shape("first_stage_model.decoder.mid.attn_1.proj_out.weight"),
              (std::vector<int64_t>{96, 96, 1, 1}));
    EXPECT_EQ(written.contains("cond_stage_model.model.transformer.resblocks.2.attn.in_proj_bias"), open_clip);
    const auto file = SingleFile::open(path);
    EXPECT_EQ(file.is_version_2(), open_clip);
    expect_same(file, parts);
  }
}

TEST(SingleFileWriter, OldSpellingsAreWrittenAndWhatHasNoPlaceIsRefused) {
  TestFolder folder;
  const auto path = folder.path() / "model.safetensors";
  const auto unet = weights_from_tensors({{"conv_in.weight", torch::zeros({1})}}, "a unet");
  const auto text =
      weights_from_tensors({{"embeddings.position_embedding.weight", torch::zeros({1})}}, "a text encoder");
  const auto vae = [](const std::string& name) {
    return weights_from_tensors({{name, torch::zeros({2, 2})}}, "a vae");
  };
  write_single_file(path, {*unet, *vae("encoder.mid_block.attentions.0.query.weight"), *text});
  const auto written = SafetensorsFile::open(path);
  EXPECT_EQ(written.shape("first_stage_model.encoder.mid.attn_1.q.weight"), (std::vector<int64_t>{2, 2, 1, 1}));
  EXPECT_TRUE(written.contains("cond_stage_model.transformer.text_model.embeddings.position_embedding.weight"));
  const auto hint = expect_error<FormatError>("a vae: 'encoder.other.weight' has no place in the original layout", [&] {
    write_single_file(path, {*unet, *vae("encoder.other.weight"), *text});
  });
  EXPECT_NE(hint.find("folder"), std::string::npos);
  const auto thirds = weights_from_tensors(
      {{"text_model.encoder.layers.0.self_attn.q_proj.weight", torch::zeros({1, 1})}}, "a text encoder");
  expect_error<FormatError>("layer 0 has no self_attn.k_proj.weight", [&] {
    write_single_file(path, {*unet, *vae("quant_conv.weight"), *thirds, true});
  });
}

TEST(SingleFileWriter, SaysWhatTheModelPredicts) {
  for (const bool open_clip : {false, true}) {
    for (const std::string type : {"epsilon", "v_prediction"}) {
      const auto metadata = single_file_metadata({{"prediction_type", type}}, open_clip);
      const auto tensors = open_clip ? real_file("sd21_unet", "sd21_text_encoder") : outline({});
      EXPECT_EQ(opened(tensors, {}, metadata).prediction_type(), type) << open_clip;
    }
  }
  EXPECT_EQ(single_file_metadata({}, true).at("modelspec.architecture"), "stable-diffusion-v2-512");
}

}  // namespace
}  // namespace lorikeet
