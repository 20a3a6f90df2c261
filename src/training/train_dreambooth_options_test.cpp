#include "training/train_dreambooth_options.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/errors.h"

namespace lorikeet {
namespace {

using Change = std::function<void(TrainDreamboothOptions&)>;

TrainDreamboothOptions good_options() {
  TrainDreamboothOptions options;
  options.pretrained_model_name_or_path = "models/lorikeet-base";
  options.instance_data_dir = "photos";
  options.instance_prompt = "a photo of sks dog";
  return options;
}

/// What `validate` says about good options with one change; empty when it accepts them.
std::string refusal(const Change& change) {
  TrainDreamboothOptions options = good_options();
  change(options);
  try {
    validate(options);
  } catch (const UsageError& error) {
    EXPECT_FALSE(error.hint().empty()) << error.what();
    return error.what();
  }
  return "";
}

/// Variables of the environment, put back at the end of the test.
class Environment {
 public:
  Environment() {
    for (const char* name : {"LOCAL_RANK", "WORLD_SIZE", "ACCELERATE_MIXED_PRECISION", "ACCELERATE_USE_CPU",
                             "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"}) {
      const char* value = std::getenv(name);
      before_[name] = value == nullptr ? std::nullopt : std::optional<std::string>(value);
      ::unsetenv(name);
    }
  }
  ~Environment() {
    for (const auto& [name, value] : before_) {
      if (value) {
        ::setenv(name.c_str(), value->c_str(), 1);
      } else {
        ::unsetenv(name.c_str());
      }
    }
  }
  void set(const char* name, const char* value) { ::setenv(name, value, 1); }

 private:
  std::map<std::string, std::optional<std::string>> before_;
};

std::string default_spelling(const nlohmann::json& flag) {
  const auto& value = flag.at("default");
  if (flag.at("required").get<bool>() || value.is_null()) return "none";
  return value.is_string() ? value.get<std::string>() : value.dump();
}

TEST(TrainDreamboothOptions, HoldEveryFlagOfTheScriptWithItsTypeAndDefault) {
  const auto flags = nlohmann::json::parse(read_file("tests/data/dreambooth_flags.json"));
  ASSERT_EQ(flags.size(), 59);
  TrainDreamboothOptions options;
  const OptionList list = fields(options);
  for (const auto& flag : flags) {
    const std::string name = flag.at("name");
    const Option* option = list.find(name);
    ASSERT_NE(option, nullptr) << name;
    EXPECT_EQ(option->type(), flag.at("type").get<std::string>()) << name;
    EXPECT_EQ(option->default_text(), default_spelling(flag)) << name;
    EXPECT_EQ(option->is_required(), flag.at("required").get<bool>()) << name;
    if (flag.at("choices").is_null()) continue;
    for (const std::string choice : flag.at("choices")) {
      EXPECT_NO_THROW((option->assign({choice}), option->check())) << name << "=" << choice;
    }
  }
}

TEST(TrainDreamboothOptions, AddOnlyTheseToTheScripts) {
  const auto flags = nlohmann::json::parse(read_file("tests/data/dreambooth_flags.json"));
  TrainDreamboothOptions options;
  const OptionList list = fields(options);
  TextList ours;
  for (const Option& option : list.options()) {
    const bool theirs =
        std::any_of(flags.begin(), flags.end(), [&](const auto& flag) { return flag.at("name") == option.name(); });
    if (!theirs) ours.push_back(option.name());
  }
  EXPECT_EQ(ours, (TextList{"single_file_config",
                            "masked_loss",
                            "encode_memory",
                            "cache_dir",
                            "algo",
                            "lora_alpha",
                            "conv_rank",
                            "conv_alpha",
                            "lokr_factor",
                            "use_rslora",
                            "target_modules",
                            "text_encoder_target_modules",
                            "rank_pattern",
                            "snr_gamma",
                            "noise_offset",
                            "prediction_type",
                            "debiased_estimation_loss",
                            "loss_type",
                            "huber_schedule",
                            "huber_c",
                            "input_perturbation",
                            "multires_noise_iterations",
                            "multires_noise_discount",
                            "min_timestep",
                            "max_timestep",
                            "optimizer",
                            "lora_plus_ratio",
                            "max_nonfinite_steps",
                            "use_ema",
                            "ema_decay",
                            "device",
                            "override",
                            "validation_prompts",
                            "validation_steps",
                            "validation_split",
                            "validation_loss_steps",
                            "keep_best",
                            "early_stopping_patience",
                            "hub_private_repo",
                            "hub_create_pr",
                            "push_checkpoints",
                            "config",
                            "dry_run",
                            "compat_bugs"}));
}

TEST(TrainDreamboothOptions, AcceptTheGuidesCommand) {
  EXPECT_EQ(refusal([](auto&) {}), "");
  EXPECT_EQ(refusal([](auto& o) {
              o.resolution = 72;
              o.train_text_encoder = true;
              o.with_prior_preservation = true;
              o.class_data_dir = "class";
              o.class_prompt = "a photo of dog";
              o.seed = 0;
              o.mixed_precision = "bf16";
              o.validation_prompt = "A photo of sks dog in a bucket";
            }),
            "");
}

TEST(TrainDreamboothOptions, RefuseValuesOutOfRange) {
  const std::map<std::string, Change> cases = {
      {"--pretrained_model_name_or_path is required", [](auto& o) { o.pretrained_model_name_or_path = ""; }},
      {"--instance_data_dir is required", [](auto& o) { o.instance_data_dir = ""; }},
      {"--instance_prompt is required", [](auto& o) { o.instance_prompt = ""; }},
      {"--output_dir: a folder expected, found ''", [](auto& o) { o.output_dir = ""; }},
      {"--resolution: a multiple of 8, at least 8 expected, found '100'", [](auto& o) { o.resolution = 100; }},
      {"--rank: at least 1 expected, found '0'", [](auto& o) { o.rank = 0; }},
      {"--lora_alpha: above 0 expected, found '0.0'", [](auto& o) { o.lora_alpha = 0; }},
      {"--lora_dropout: at least 0, below 1 expected, found '1.0'", [](auto& o) { o.lora_dropout = 1; }},
      {"--train_batch_size: at least 1 expected, found '0'", [](auto& o) { o.train_batch_size = 0; }},
      {"--max_train_steps: at least 1 expected, found '0'", [](auto& o) { o.max_train_steps = 0; }},
      {"--seed: at least 0, at most 4294967295 expected, found '-1'", [](auto& o) { o.seed = -1; }},
      {"--max_grad_norm: above 0 expected, found '0.0'", [](auto& o) { o.max_grad_norm = 0; }},
      {"--learning_rate: at least 0 expected, found '-0.1'", [](auto& o) { o.learning_rate = -0.1; }},
      {"--checkpointing_steps: at least 1 expected, found '0'", [](auto& o) { o.checkpointing_steps = 0; }},
      {"--device: one of auto, cpu, cuda expected, found 'gpu'", [](auto& o) { o.device = "gpu"; }},
      {"--report_to is 'tensorbord'; expected tensorboard, wandb, jsonl, several of them by comma, all or none",
       [](auto& o) { o.report_to = "tensorbord"; }},
  };
  for (const auto& [message, change] : cases) EXPECT_EQ(refusal(change), message);
}

TEST(TrainDreamboothOptions, RefuseWhatDoesNotGoTogether) {
  EXPECT_EQ(refusal([](auto& o) { o.with_prior_preservation = true; }),
            "--with_prior_preservation needs --class_data_dir");
  EXPECT_EQ(refusal([](auto& o) {
              o.with_prior_preservation = true;
              o.class_data_dir = "class";
            }),
            "--with_prior_preservation needs --class_prompt");
  EXPECT_EQ(refusal([](auto& o) { o.train_text_encoder = o.pre_compute_text_embeddings = true; }),
            "--train_text_encoder cannot be used with --pre_compute_text_embeddings");
  EXPECT_EQ(refusal([](auto& o) {
              o.report_to = "wandb";
              o.hub_token = "hf_x";
            }),
            "--report_to=wandb cannot be used with --hub_token: the token would be stored in the run's record");
}

TEST(TrainDreamboothOptions, RefuseWhatIsNotThereRatherThanIgnoreIt) {
  EXPECT_EQ(
      refusal([](auto& o) { o.report_to = "comet_ml"; }),
      "--report_to=comet_ml is not available; expected tensorboard, wandb, jsonl, several of them by comma, all or "
      "none");
  EXPECT_NE(refusal([](auto& o) { o.class_labels_conditioning = "timesteps"; }).find("DeepFloyd IF"),
            std::string::npos);
  EXPECT_NE(refusal([](auto& o) { o.validation_images = TextList{"a.png"}; }).find("DeepFloyd IF"), std::string::npos);
}

TEST(TrainDreamboothOptions, Fp16NeedsAGpu) {
  EXPECT_EQ(refusal([](auto& o) { o.mixed_precision = "fp16"; }), "") << "auto may still find a GPU";
  EXPECT_EQ(refusal([](auto& o) {
              o.mixed_precision = "fp16";
              o.device = "cpu";
            }),
            "--mixed_precision=fp16 needs a GPU, and this run is on the CPU");
  TrainDreamboothOptions options = good_options();
  options.mixed_precision = "fp16";
  EXPECT_THROW(validate_for_device(options, true), UsageError);
  EXPECT_NO_THROW(validate_for_device(options, false));
  options.mixed_precision = "bf16";
  EXPECT_NO_THROW(validate_for_device(options, true));
  options.prior_generation_precision = "fp16";
  EXPECT_NO_THROW(validate_for_device(options, true)) << "nothing is generated without prior preservation";
  options.with_prior_preservation = true;
  EXPECT_THROW(validate_for_device(options, true), UsageError);
}

TEST(TrainDreamboothOptions, WarnAboutWhatHasNoEffect) {
  TrainDreamboothOptions options = good_options();
  EXPECT_TRUE(warnings(options).empty());
  options.class_data_dir = "class";
  options.class_prompt = "a dog";
  options.hub_model_id = "me/dog";
  options.lr_warmup_steps = 10;
  options.text_encoder_target_modules = std::vector<std::string>{"q_proj"};
  EXPECT_EQ(warnings(options).size(), 5);
  options.train_text_encoder = true;
  options.with_prior_preservation = true;
  options.lr_scheduler = "cosine";
  EXPECT_EQ(warnings(options), (TextList{"--hub_model_id has no effect without --push_to_hub"}));
}

TEST(TrainDreamboothOptions, FollowAccelerateLaunch) {
  Environment environment;
  TrainDreamboothOptions options;
  apply_environment(options);
  EXPECT_FALSE(options.mixed_precision.has_value());
  EXPECT_EQ(options.local_rank, -1);

  environment.set("LOCAL_RANK", "0");
  environment.set("WORLD_SIZE", "1");
  environment.set("ACCELERATE_MIXED_PRECISION", "bf16");
  environment.set("ACCELERATE_USE_CPU", "True");  // as accelerate launch spells it
  apply_environment(options);
  EXPECT_EQ(options.mixed_precision, "bf16");
  EXPECT_EQ(options.local_rank, 0);
  EXPECT_EQ(options.device, "cpu");

  options.mixed_precision = "no";
  options.device = "cuda";
  apply_environment(options);
  EXPECT_EQ(options.mixed_precision, "no") << "the flag goes before the environment";
  EXPECT_EQ(options.device, "cuda");

  options.device = "auto";
  environment.set("ACCELERATE_USE_CPU", "False");
  apply_environment(options);
  EXPECT_EQ(options.device, "auto");
}

TEST(TrainDreamboothOptions, RefuseAnotherAccumulationInTheEnvironment) {
  Environment environment;
  TrainDreamboothOptions options;
  environment.set("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4");
  EXPECT_THROW(apply_environment(options), UsageError);
  options.gradient_accumulation_steps = 4;
  EXPECT_NO_THROW(apply_environment(options));
}

TEST(TrainDreamboothOptions, RefuseABadEnvironment) {
  Environment environment;
  TrainDreamboothOptions options;
  environment.set("WORLD_SIZE", "2");
  EXPECT_THROW(apply_environment(options), UsageError);
  environment.set("WORLD_SIZE", "one");
  EXPECT_THROW(apply_environment(options), UsageError);
  environment.set("WORLD_SIZE", "1");
  environment.set("ACCELERATE_MIXED_PRECISION", "fp8");
  EXPECT_THROW(apply_environment(options), UsageError);
  options.mixed_precision = "no";
  EXPECT_NO_THROW(apply_environment(options));
}

TEST(TrainDreamboothOptions, NeverWriteTheToken) {
  TrainDreamboothOptions options = good_options();
  options.hub_token = "hf_secret";
  EXPECT_EQ(fields(options).to_json().find("hf_secret"), std::string::npos);
}

}  // namespace
}  // namespace lorikeet
