#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "core/errors.h"
#include "core/log.h"
#include "engine/random.h"
#include "pipelines/components.h"
#include "pipelines/denoise.h"
#include "pipelines/stable_diffusion_pipeline.h"

namespace lorikeet {
namespace {
namespace fs = std::filesystem;

constexpr const char* kBase = "models/lorikeet-base";
constexpr const char* kLora = "tests/data/generate/lora.safetensors";

/// Loaded once: every test leaves it as it was.
StableDiffusionComponents& base() {
  static auto components = load_components(kBase, std::nullopt, torch::kFloat);
  return components;
}

PictureRequest small_request(std::vector<std::string> prompts = {"red apple"}) {
  PictureRequest request;
  request.prompts = std::move(prompts);
  request.height = request.width = 32;
  request.num_inference_steps = 3;
  request.guidance_scale = 3;
  return request;
}

torch::Tensor latents_of(const PictureRequest& request, uint64_t seed = 0) {
  auto generator = make_generator(seed);
  return denoise(base(), *make_pipeline_scheduler(base().scheduler_config, "ddim"), request, generator);
}

class ModelIndex : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "model_index_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    std::ifstream file(fs::path(kBase) / "model_index.json");
    index_ = nlohmann::json::parse(file);
    set_log_sink([this](LogLevel, std::string_view line) { log_ += std::string(line) + "\n"; });
  }
  void TearDown() override {
    set_log_sink({});
    fs::remove_all(folder_);
  }
  void check() {
    std::ofstream(folder_ / "model_index.json") << index_.dump();
    check_model_index(folder_);
  }
  std::string refusal() {
    try {
      check();
    } catch (const FormatError& error) {
      return error.what();
    }
    return "(accepted)";
  }

  fs::path folder_;
  nlohmann::json index_;
  std::string log_;
};

TEST_F(ModelIndex, TheEmbeddedModelIsAcceptedInSilence) {
  check();
  EXPECT_EQ(log_, "");
}

TEST_F(ModelIndex, ASafetyCheckerIsLeftOutWithOneNote) {
  index_["safety_checker"] = {"stable_diffusion", "StableDiffusionSafetyChecker"};
  index_["feature_extractor"] = {"transformers", "CLIPFeatureExtractor"};
  check();
  EXPECT_EQ(std::count(log_.begin(), log_.end(), '\n'), 1);
  EXPECT_NE(log_.find("feature_extractor, safety_checker"), std::string::npos) << log_;
}

TEST_F(ModelIndex, WhatIsNotKnownIsRefusedByName) {
  index_["controlnet"] = {"diffusers", "ControlNetModel"};
  EXPECT_NE(refusal().find("\"controlnet\""), std::string::npos) << refusal();
  index_.erase("controlnet");
  index_["vae"] = {"diffusers", "AutoencoderTiny"};
  EXPECT_NE(refusal().find("vae is a AutoencoderTiny, expected AutoencoderKL"), std::string::npos) << refusal();
  index_["vae"] = "AutoencoderKL";
  EXPECT_NE(refusal().find("expected [library, class]"), std::string::npos) << refusal();
  index_["vae"] = {nullptr, nullptr};
  EXPECT_NE(refusal().find("has no vae"), std::string::npos) << refusal();
  index_.erase("vae");
  EXPECT_NE(refusal().find("has no vae"), std::string::npos) << refusal();
  index_["_class_name"] = "StableDiffusionXLPipeline";
  EXPECT_NE(refusal().find("StableDiffusionXLPipeline"), std::string::npos) << refusal();
  index_.erase("_class_name");
  EXPECT_NE(refusal().find("the pipeline is none"), std::string::npos) << refusal();
  index_ = nlohmann::json::array();
  EXPECT_NE(refusal().find("not a JSON object"), std::string::npos) << refusal();
}

TEST(PartsFit, RefusesPartsOfDifferentWidthWithBothNumbers) {
  const auto config = [](const char* part) {
    std::ifstream file(fs::path(kBase) / part / "config.json");
    return nlohmann::json::parse(file);
  };
  const auto refusal = [](const StableDiffusionComponents& components) -> std::string {
    try {
      check_parts_fit(components);
    } catch (const FormatError& error) {
      EXPECT_FALSE(error.hint().empty());
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refusal(base()), "");
  auto unet = config("unet");
  const int64_t width = unet["cross_attention_dim"];
  for (const auto& [key, value] :
       std::map<std::string, int64_t>{{"in_channels", 9}, {"out_channels", 8}, {"cross_attention_dim", width + 8}}) {
    auto other = unet;
    other[key] = value;
    auto components = base();
    components.unet = UNet2DConditionModel::from_config(other);
    EXPECT_NE(refusal(components).find(std::to_string(value)), std::string::npos) << key;
  }
}

TEST(TokenIds, BeyondTheTextEncodersVocabularyAreNamed) {
  const int64_t known = base().text_encoder->config().vocab_size;
  EXPECT_NO_THROW(check_token_ids({0, known - 1}, *base().text_encoder));
  EXPECT_THROW(check_token_ids({0, known}, *base().text_encoder), FormatError);
}

TEST_F(ModelIndex, AFolderWithoutOneIsNoModel) { EXPECT_THROW(check_model_index(folder_), FileError); }

TEST(PipelineScheduler, ForcesWhatDiffusersPipelineForces) {
  nlohmann::json config = {{"_class_name", "DDIMScheduler"}, {"beta_schedule", "scaled_linear"}};
  const auto own = make_pipeline_scheduler(config);
  own->set_timesteps(10);
  EXPECT_EQ(own->timesteps()[0].item<int64_t>(), 901);  // 900 + steps_offset 1
  // DDIM's default offset 0 was not in the file, so it does not travel to another class, forced or not.
  const auto other = make_pipeline_scheduler(config, "ddpm");
  other->set_timesteps(10);
  EXPECT_EQ(other->timesteps()[0].item<int64_t>(), 900);
  config["steps_offset"] = 0;
  const auto written = make_pipeline_scheduler(config, "ddpm");
  written->set_timesteps(10);
  EXPECT_EQ(written->timesteps()[0].item<int64_t>(), 901);
}

TEST(PipelineScheduler, AnUnknownClassOrNameIsRefused) {
  EXPECT_THROW(make_pipeline_scheduler({{"_class_name", "HeunDiscreteScheduler"}}), FormatError);
  EXPECT_THROW(make_pipeline_scheduler(base().scheduler_config, "heun"), UsageError);
}

TEST(Denoise, GuidanceRescaleZeroAndGuidanceOneTakeTheShortWays) {
  auto request = small_request();
  const auto plain = latents_of(request);
  request.guidance_rescale = 0.7;
  EXPECT_FALSE(torch::equal(latents_of(request), plain));
  request.guidance_scale = 1;
  const auto unguided = latents_of(request);
  request.negative_prompts = {"blue car"};
  EXPECT_TRUE(torch::equal(latents_of(request), unguided));
}

TEST(Denoise, PicturesOfABatchAreThoseDrawnAloneFromTheSameNoise) {
  auto request = small_request({"red apple", "panda"});
  request.num_images_per_prompt = 2;
  const auto batch = latents_of(request);
  ASSERT_EQ(batch.sizes(), (std::vector<int64_t>{4, 4, 8, 8}));
  // The third picture belongs to the second prompt. Its noise is the third part of one draw, so drawing the prompts
  // in the other order gives it the first part.
  auto alone = small_request({"panda", "panda", "panda", "panda"});
  EXPECT_LT((latents_of(alone)[2] - batch[2]).abs().max().item<double>(), 1e-4);
  EXPECT_GT((latents_of(alone)[1] - batch[1]).abs().max().item<double>(), 1e-2);
}

TEST(Denoise, OneNegativePromptStandsForAll) {
  auto request = small_request({"red apple", "panda"});
  request.negative_prompts = {"blue car"};
  const auto one = latents_of(request);
  request.negative_prompts = {"blue car", "blue car"};
  EXPECT_TRUE(torch::equal(latents_of(request), one));
  request.negative_prompts = {"blue car", "car", "blue"};
  EXPECT_THROW(latents_of(request), UsageError);
}

TEST(Denoise, ReadyEmbeddingsReplaceTheTexts) {
  auto request = small_request();
  const auto from_text = latents_of(request);
  request.embeddings = encode_prompts(base(), request);
  request.prompts.clear();
  auto without_text_encoder = base();
  without_text_encoder.text_encoder = nullptr;
  without_text_encoder.tokenizer = nullptr;
  auto generator = make_generator(0);
  const auto scheduler = make_pipeline_scheduler(base().scheduler_config, "ddim");
  EXPECT_TRUE(torch::equal(denoise(without_text_encoder, *scheduler, request, generator), from_text));
}

TEST(Denoise, DrawsGoOnInOneGeneratorAndTouchNoOther) {
  const auto request = small_request();
  auto generator = make_generator(0);
  const auto scheduler = make_pipeline_scheduler(base().scheduler_config, "ddim");
  const auto global_before = generator_state(at::globalContext().defaultGenerator(torch::kCPU));
  const auto first = denoise(base(), *scheduler, request, generator);
  const auto second = denoise(base(), *scheduler, request, generator);
  EXPECT_TRUE(torch::equal(first, latents_of(request)));
  EXPECT_FALSE(torch::equal(second, first));
  // DDIM draws nothing but the first noise: 4 x 8 x 8 numbers per picture.
  auto expected = make_generator(0);
  draw_normal({1, 4, 8, 8}, expected, torch::kFloat);
  draw_normal({1, 4, 8, 8}, expected, torch::kFloat);
  EXPECT_TRUE(torch::equal(generator_state(generator), generator_state(expected)));
  EXPECT_TRUE(torch::equal(generator_state(at::globalContext().defaultGenerator(torch::kCPU)), global_before));
}

TEST(Denoise, RefusesSizesAndMissingPrompts) {
  auto request = small_request();
  for (const int64_t size : {0, 4, 36, -8}) {
    request.height = size;
    EXPECT_THROW(latents_of(request), UsageError) << size;
  }
  EXPECT_THROW(latents_of(small_request({})), UsageError);
}

TEST(Denoise, TheCallbackSeesEveryStepAndCanStop) {
  auto request = small_request();
  std::vector<int64_t> steps;
  request.callback = [&](int64_t step, int64_t total, const torch::Tensor& latents) {
    EXPECT_EQ(total, 3);
    EXPECT_EQ(latents.size(1), 4);
    steps.push_back(step);
    return step < 2;
  };
  EXPECT_THROW(latents_of(request), Interrupted);
  EXPECT_EQ(steps, (std::vector<int64_t>{1, 2}));
}

TEST(EncodeTexts, NamesWhatWasCutOff) {
  std::string log;
  set_log_sink([&](LogLevel level, std::string_view line) {
    if (level == LogLevel::kWarning) log += line;
  });
  std::string text;
  for (int i = 0; i < 75; ++i) text += "apple ";
  const auto fits = encode_texts(*base().tokenizer, *base().text_encoder, {text});
  EXPECT_EQ(log, "");
  const auto cut = encode_texts(*base().tokenizer, *base().text_encoder, {text + "zebra"});
  set_log_sink({});
  EXPECT_NE(log.find("\"zebra\""), std::string::npos) << log;
  EXPECT_TRUE(torch::equal(fits, cut));
}

TEST(DecodeImages, RoundsAsNumpyAndDrawsNoNumbersBlack) {
  std::string log;
  set_log_sink([&](LogLevel, std::string_view line) { log += line; });
  const auto images = decode_images(*base().vae, torch::full({1, 4, 4, 4}, NAN));
  set_log_sink({});
  ASSERT_EQ(images.size(), 1u);
  EXPECT_EQ(images[0].width, 16);
  EXPECT_EQ(images[0].pixels, std::vector<uint8_t>(16 * 16 * 3, 0));
  EXPECT_NE(log.find("no numbers"), std::string::npos) << log;
}

class Pipeline : public testing::Test {
 protected:
  std::vector<uint8_t> draw(CallOptions options = {}) {
    options.height = options.width = 32;
    options.num_inference_steps = 2;
    options.seed = 0;
    return pipeline_("red apple", options).images.at(0).pixels;
  }
  StableDiffusionPipeline pipeline_ = StableDiffusionPipeline::from_pretrained(kBase);
};

int largest_difference(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  int largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

TEST_F(Pipeline, ALoraAtScaleZeroAndAfterUnloadingIsTheBaseModel) {
  const auto plain = draw();
  pipeline_.load_lora_weights(kLora);
  const auto trained = draw();
  EXPECT_NE(trained, plain);
  EXPECT_EQ(draw({.cross_attention_kwargs = {.scale = 0}}), plain);
  EXPECT_THROW(pipeline_.load_attn_procs(kLora, {.adapter_name = "default_0"}), UsageError) << "taken";
  pipeline_.unload_lora_weights();
  EXPECT_EQ(draw(), plain);
  pipeline_.load_attn_procs("tests/data/generate", {.weight_name = "lora.safetensors"});
  EXPECT_EQ(draw(), trained);
}

TEST_F(Pipeline, AFusedLoraDrawsThePictureAndComesOutExactly) {
  const auto plain = draw();
  EXPECT_THROW(pipeline_.fuse_lora(), UsageError);
  pipeline_.load_lora_weights(kLora);
  const auto half = draw({.cross_attention_kwargs = {.scale = 0.5}});
  pipeline_.fuse_lora(0.5);
  const auto fused = draw({.cross_attention_kwargs = {.scale = 1}});
  EXPECT_LE(largest_difference(half, fused), 1);
  EXPECT_THROW(pipeline_.fuse_lora(), UsageError);
  pipeline_.unfuse_lora();
  EXPECT_EQ(draw({.cross_attention_kwargs = {.scale = 0.5}}), half);
  pipeline_.fuse_lora();
  pipeline_.unload_lora_weights();
  EXPECT_EQ(draw(), plain);
}

TEST_F(Pipeline, SeveralLorasHaveNamesAndWeights) {
  const auto plain = draw();
  pipeline_.load_lora_weights(kLora, {.adapter_name = "a"});
  const auto once = draw();
  EXPECT_THROW(pipeline_.load_lora_weights(kLora, {.adapter_name = "a"}), UsageError) << "taken";
  pipeline_.load_lora_weights(kLora, {.adapter_name = "b"});
  EXPECT_EQ(pipeline_.get_active_adapters(), std::vector<std::string>{"b"}) << "the last one";
  EXPECT_EQ(draw(), once);
  pipeline_.set_adapters({"a", "b"}, {{.weight = 0.75}, {.weight = 0.25}});
  EXPECT_LE(largest_difference(draw(), once), 1);
  pipeline_.set_adapters({"a", "b"}, {{.weight = 0.5}, {.weight = -0.5}});
  EXPECT_LE(largest_difference(draw(), plain), 1);
  pipeline_.set_adapters({"a"}, {{.weight = 0.5}});
  const auto half = draw();
  pipeline_.set_adapters({"a"});
  EXPECT_EQ(draw({.cross_attention_kwargs = {.scale = 0.5}}), half);
  EXPECT_THROW(pipeline_.set_adapters({"c"}), UsageError);
  EXPECT_THROW(pipeline_.set_adapters({"a"}, {{}, {}}), UsageError);
  EXPECT_THROW(pipeline_.set_adapters({"a"}, {{.blocks = {{"down.block_9", 1}}}}), UsageError);
  EXPECT_EQ(pipeline_.get_active_adapters(), std::vector<std::string>{"a"}) << "a refused call changes nothing";
  pipeline_.delete_adapters({"a"});
  EXPECT_EQ(pipeline_.get_list_adapters(), std::vector<std::string>{"b"});
  EXPECT_EQ(draw(), plain) << "no LoRA is active";
  pipeline_.set_adapters({});
  EXPECT_EQ(draw(), plain);
}

TEST_F(Pipeline, WhatIsFusedCannotBeChangedUntilItIsUnfused) {
  pipeline_.load_lora_weights(kLora, {.adapter_name = "a"});
  pipeline_.fuse_lora();
  EXPECT_THROW(pipeline_.set_adapters({"a"}), UsageError);
  EXPECT_THROW(pipeline_.delete_adapters({"a"}), UsageError);
  EXPECT_THROW(pipeline_.load_lora_weights(kLora), UsageError);
  pipeline_.unfuse_lora();
  pipeline_.delete_adapters({"a"});
}

TEST_F(Pipeline, ASavedLoraDrawsTheSame) {
  const auto folder = std::filesystem::temp_directory_path() / ("lorikeet-saved-" + std::to_string(::getpid()));
  EXPECT_THROW(pipeline_.save_lora_weights(folder), UsageError) << "there is none";
  pipeline_.load_lora_weights(kLora);
  const auto drawn = draw();
  pipeline_.save_lora_weights(folder);
  pipeline_.unload_lora_weights();
  pipeline_.load_lora_weights(folder);
  EXPECT_EQ(draw(), drawn);
  std::filesystem::remove_all(folder);
}

TEST_F(Pipeline, AFailedLoraLeavesTheModelAsItWas) {
  const auto plain = draw();
  EXPECT_THROW(pipeline_.load_lora_weights("models/lorikeet-base/vae/diffusion_pytorch_model.safetensors"),
               FormatError);
  EXPECT_EQ(draw(), plain);
  pipeline_.load_lora_weights(kLora);
}

TEST_F(Pipeline, AStepsPreviewIsThePictureAtTheLastStep) {
  std::vector<uint8_t> last;
  CallOptions options;
  options.callback_on_step_end = [&](const StepProgress& progress) {
    if (progress.step == progress.total) last = progress.preview().at(0).pixels;
    return true;
  };
  EXPECT_EQ(draw(options), last);
}

TEST_F(Pipeline, RefusesWhatItCannotDraw) {
  EXPECT_THROW(draw({.num_images_per_prompt = 0}), UsageError);
  EXPECT_THROW(draw({.eta = 1.5}), UsageError);
  EXPECT_THROW(draw({.guidance_rescale = -1}), UsageError);
  EXPECT_THROW(pipeline_.set_scheduler("heun"), UsageError);
  EXPECT_THROW(StableDiffusionPipeline::from_pretrained(kBase, {.dtype = "fp8"}), UsageError);
  EXPECT_THROW(StableDiffusionPipeline::from_pretrained(kBase, {.variant = "fp16"}), FileError);
  auto half = StableDiffusionPipeline::from_pretrained(kBase, {.dtype = "float16"});
  EXPECT_THROW(half("red apple"), UsageError);
}

TEST_F(Pipeline, DefaultsToTheSizeTheModelWasTrainedFor) {
  EXPECT_EQ(pipeline_.default_height(), 64);
  const auto output = pipeline_(std::vector<std::string>{"panda", "red apple"}, {.num_inference_steps = 1, .seed = 5});
  ASSERT_EQ(output.images.size(), 2u);
  EXPECT_EQ(output.images[1].width, 64);
  EXPECT_EQ(output.seed, 5u);
}

TEST(AdapterWeight, TheLongestNameThatMeansALayerCounts) {
  const AdapterWeight weight{.weight = 0.5, .blocks = {{"up", 2}, {"up.block_1", 4}, {"up.block_1.0", 8}, {"mid", 0}}};
  EXPECT_EQ(weight.of_unet_layer("down_blocks.0.attentions.0.proj_in"), 0.5);
  EXPECT_EQ(weight.of_unet_layer("up_blocks.0.attentions.0.proj_in"), 1);
  EXPECT_EQ(weight.of_unet_layer("up_blocks.1.attentions.1.proj_in"), 2);
  EXPECT_EQ(weight.of_unet_layer("up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"), 4);
  EXPECT_EQ(weight.of_unet_layer("up_blocks.1.resnets.0.conv1"), 4) << "as Diffusers counts it";
  EXPECT_EQ(weight.of_unet_layer("mid_block.attentions.0.proj_in"), 0);
  EXPECT_EQ(weight.of_unet_layer("conv_in"), 0.5);
  EXPECT_EQ(weight.of_text_encoder(), 0.5);
}

TEST(AdapterWeight, RefusesWhatIsNoBlock) {
  EXPECT_EQ(parse_block_weights({"down=0.5", "up.block_1.0=-1e-3"}, "--x").at("up.block_1.0"), -1e-3);
  for (const char* wrong : {"down", "down=", "=1", "left=1", "down.block_=1", "mid.block_0=1", "mid=nan", "mid=1x"}) {
    EXPECT_THROW(parse_block_weights({wrong}, "--x"), UsageError) << wrong;
  }
  EXPECT_THROW(parse_block_weights({"mid=1", "mid=1"}, "--x"), UsageError);
}

}  // namespace
}  // namespace lorikeet
