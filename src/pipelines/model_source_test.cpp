#include "pipelines/model_source.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include "core/errors.h"
#include "core/log.h"
#include "io/file_test_support.h"
#include "io/safetensors.h"
#include "pipelines/components.h"
#include "pipelines/single_file_writer.h"

namespace lorikeet {
namespace {
namespace fs = std::filesystem;

const fs::path kBase = "models/lorikeet-base";

class ModelSourceTest : public testing::Test {
 protected:
  void SetUp() override {
    ::setenv("HF_HUB_CACHE", (folder_.path() / "cache").c_str(), 1);
    ::setenv("HF_HUB_OFFLINE", "1", 1);  // no test asks the real Hub
    set_log_sink([this](LogLevel, std::string_view line) { log_ += std::string(line) + "\n"; });
  }
  void TearDown() override {
    set_log_sink({});
    ::unsetenv("HF_HUB_CACHE");
    ::unsetenv("HF_HUB_OFFLINE");
  }

  /// The embedded model as one file.
  fs::path single_file(bool open_clip = false) const {
    const auto path = folder_.path() / "model.safetensors";
    write_single_file(path, {*open_weights(kBase / "unet", "diffusion_pytorch_model"),
                             *open_weights(kBase / "vae", "diffusion_pytorch_model"),
                             *open_weights(kBase / "text_encoder", "model"), open_clip});
    return path;
  }
  /// Puts a repository with the embedded model's tokenizer into the cache.
  fs::path cache(const std::string& folder_name, const std::string& tokenizer) const {
    const std::string commit(40, 'a');
    const auto repository = folder_.path() / "cache" / folder_name;
    fs::create_directories(repository / "refs");
    std::ofstream(repository / "refs/main") << commit;
    const auto target = repository / "snapshots" / commit / tokenizer;
    fs::create_directories(target);
    for (const char* file : {"vocab.json", "merges.txt"}) fs::copy(kBase / "tokenizer" / file, target / file);
    return repository / "snapshots" / commit;
  }

  TestFolder folder_;
  std::string log_;
};

TEST_F(ModelSourceTest, AFolderIsItselfAndHasNoOtherConfig) {
  const auto source = find_model(kBase.string(), {}, {});
  EXPECT_EQ(source.path, kBase);
  EXPECT_FALSE(source.is_single_file());
  EXPECT_EQ(tokenizer_folder(source), kBase / "tokenizer");
  expect_error<UsageError>("is a model folder", [] { find_model(kBase.string(), {}, {}, kBase.string()); });
  expect_error<FileError>("there is no folder", [] { find_model("./absent", {}, {}); });
}

TEST_F(ModelSourceTest, AFileHasAConfigAndNeitherVariantNorRevision) {
  const auto path = folder_.write("model.safetensors", "x").string();
  EXPECT_TRUE(find_model(path, {}, {}).is_single_file());
  EXPECT_EQ(find_model(path, {}, {}, kBase.string()).config, kBase);
  expect_error<UsageError>("the variant \"fp16\" is given, but " + path + " is a single file",
                           [&] { find_model(path, {}, "fp16"); });
  expect_error<UsageError>("the revision \"v1\" is given", [&] { find_model(path, "v1", {}); });
  expect_error<HubError>("is no folder here, and no Hub id in the cache",
                         [&] { find_model(path, {}, {}, "owner/absent"); });
  const auto snapshot = cache("models--owner--name", "tokenizer");
  EXPECT_EQ(find_model(path, {}, {}, "owner/name").config, snapshot);
}

TEST_F(ModelSourceTest, AFileWithAConfigGivesTheFoldersModel) {
  const ModelSource source(single_file(), kBase);
  const auto one = load_components(source, std::nullopt, torch::kFloat);
  const auto other = load_components(kBase, std::nullopt, torch::kFloat);
  EXPECT_EQ(one.scheduler_config, other.scheduler_config);
  EXPECT_EQ(one.tokenizer->encode("red apple"), other.tokenizer->encode("red apple"));
  const auto expect_same = [](const torch::nn::Module& a, const torch::nn::Module& b) {
    const auto mine = a.named_parameters(), theirs = b.named_parameters();
    ASSERT_EQ(mine.size(), theirs.size());
    for (const auto& parameter : mine) EXPECT_TRUE(torch::equal(parameter.value(), theirs[parameter.key()]));
  };
  expect_same(*one.unet, *other.unet);
  expect_same(*one.vae, *other.vae);
  expect_same(*one.text_encoder, *other.text_encoder);
}

TEST_F(ModelSourceTest, AnIncompleteConfigIsToldByItsFile) {
  const auto path = single_file();
  const auto config = folder_.path() / "config";
  fs::create_directories(config / "unet");
  const ModelSource source(path, config);
  expect_error<FileError>("there is no " + (config / "model_index.json").string(), [&] { check_model_index(source); });
  expect_error<FileError>("unet/config.json", [&] { load_unet(source, {}, torch::kFloat); });
  expect_error<FileError>("scheduler_config.json", [&] { load_scheduler_config(source); });
  std::ofstream(config / "unet/config.json") << "[";
  expect_error<FormatError>("config.json is not a JSON object", [&] { load_unet(source, {}, torch::kFloat); });
  std::ofstream(config / "unet/config.json") << R"({"block_out_channels":[64,96,160,160]})";
  expect_error<FormatError>("(unet) does not fit its config", [&] { load_unet(source, {}, torch::kFloat); });
}

TEST_F(ModelSourceTest, ASmallModelNeedsAConfig) {
  const ModelSource source = single_file();
  EXPECT_NO_THROW(check_model_index(source));
  for (const auto& load : {std::function<void()>([&] { load_unet(source, {}, torch::kFloat); }),
                           std::function<void()>([&] { load_vae(source, {}, torch::kFloat); }),
                           std::function<void()>([&] { load_text_encoder(source, {}, torch::kFloat); })}) {
    const auto hint = expect_error<FormatError>("cannot be told from its tensors", load);
    EXPECT_NE(hint.find("--single_file_config"), std::string::npos);
  }
}

TEST_F(ModelSourceTest, TheTokenizerComesFromTheCacheOrItIsSaidHow) {
  const ModelSource version_1 = single_file();
  auto hint = expect_error<FileError>("has no tokenizer, as no single file has, and the cache " +
                                          (folder_.path() / "cache").string() + " has none of a Stable Diffusion 1",
                                      [&] { load_tokenizer(version_1); });
  EXPECT_NE(hint.find("`lorikeet hub download openai/clip-vit-large-patch14 vocab.json"), std::string::npos) << hint;
  const auto clip = cache("models--openai--clip-vit-large-patch14", "");
  EXPECT_EQ(load_tokenizer(version_1)->encode("red"), load_tokenizer(kBase)->encode("red"));
  const auto whole = cache("models--stable-diffusion-v1-5--stable-diffusion-v1-5", "tokenizer");
  EXPECT_EQ(tokenizer_folder(version_1), whole / "tokenizer");
  const ModelSource version_2 = single_file(/*open_clip=*/true);
  hint = expect_error<FileError>("Stable Diffusion 2", [&] { load_tokenizer(version_2); });
  EXPECT_NE(hint.find("stabilityai/stable-diffusion-2-1 --include"), std::string::npos) << hint;
  const auto base = cache("models--stabilityai--stable-diffusion-2-1-base", "tokenizer");
  EXPECT_EQ(tokenizer_folder(version_2), base / "tokenizer");
}

TEST_F(ModelSourceTest, WhatItPredictsIsNotedWhereItIsOnlyTaken) {
  EXPECT_EQ(load_scheduler_config(single_file())["prediction_type"], "epsilon");
  EXPECT_EQ(log_, "");
  EXPECT_EQ(load_scheduler_config(single_file(/*open_clip=*/true))["prediction_type"], "v_prediction");
  EXPECT_NE(log_.find("does not say what it predicts: v_prediction is taken"), std::string::npos) << log_;
}

}  // namespace
}  // namespace lorikeet
