#include "training/train_text_to_image_options.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

using Change = std::function<void(TrainTextToImageOptions&)>;

TrainTextToImageOptions good_options() {
  TrainTextToImageOptions options;
  options.pretrained_model_name_or_path = "models/lorikeet-base";
  options.train_data_dir = "pictures";
  return options;
}

/// What `validate` says about good options with one change; empty when it accepts them.
std::string refusal(const Change& change) {
  TrainTextToImageOptions options = good_options();
  change(options);
  try {
    validate(options);
  } catch (const UsageError& error) {
    EXPECT_FALSE(error.hint().empty()) << error.what();
    return error.what();
  }
  return "";
}

TextList warnings_after(const Change& change) {
  TrainTextToImageOptions options = good_options();
  change(options);
  return warnings(options);
}

std::string default_spelling(const nlohmann::json& flag) {
  const auto& value = flag.at("default");
  if (flag.at("required").get<bool>() || value.is_null()) return "none";
  return value.is_string() ? value.get<std::string>() : value.dump();
}

TEST(TrainTextToImageOptions, HoldEveryFlagOfTheScriptWithItsTypeAndDefault) {
  const auto flags = nlohmann::json::parse(read_file("tests/data/text_to_image_flags.json"));
  ASSERT_EQ(flags.size(), 51);
  TrainTextToImageOptions options;
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

TEST(TrainTextToImageOptions, AddOnlyTheseToTheScripts) {
  const auto flags = nlohmann::json::parse(read_file("tests/data/text_to_image_flags.json"));
  TrainTextToImageOptions options;
  const OptionList list = fields(options);
  TextList ours;
  for (const Option& option : list.options()) {
    const bool theirs =
        std::any_of(flags.begin(), flags.end(), [&](const auto& flag) { return flag.at("name") == option.name(); });
    if (!theirs) ours.push_back(option.name());
  }
  EXPECT_EQ(ours, (TextList{"single_file_config",
                            "masked_loss",
                            "default_caption",
                            "caption_prefix",
                            "caption_dropout_rate",
                            "shuffle_caption",
                            "keep_tokens",
                            "caption_separator",
                            "bucket",
                            "bucket_reso_steps",
                            "min_bucket_reso",
                            "max_bucket_reso",
                            "bucket_no_upscale",
                            "encode_memory",
                            "algo",
                            "lora_alpha",
                            "conv_rank",
                            "conv_alpha",
                            "lokr_factor",
                            "lora_dropout",
                            "use_rslora",
                            "train_text_encoder",
                            "target_modules",
                            "text_encoder_target_modules",
                            "rank_pattern",
                            "debiased_estimation_loss",
                            "loss_type",
                            "huber_schedule",
                            "huber_c",
                            "input_perturbation",
                            "multires_noise_iterations",
                            "multires_noise_discount",
                            "min_timestep",
                            "max_timestep",
                            "lr_num_cycles",
                            "lr_power",
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

TEST(TrainTextToImageOptions, AcceptTheGuidesCommand) {
  EXPECT_EQ(refusal([](auto&) {}), "");
  EXPECT_EQ(refusal([](auto& o) {
              o.resolution = 512;
              o.center_crop = o.random_flip = true;
              o.train_batch_size = 1;
              o.gradient_accumulation_steps = 4;
              o.max_train_steps = 15000;
              o.learning_rate = 1e-4;
              o.max_grad_norm = 1;
              o.lr_scheduler = "cosine";
              o.lr_warmup_steps = 0;
              o.report_to = "wandb";
              o.checkpointing_steps = 500;
              o.validation_prompt = "A naruto with blue eyes.";
              o.seed = 1337;
              o.mixed_precision = "fp16";
            }),
            "");
}

TEST(TrainTextToImageOptions, RefuseWhatIsMissingOrNotThere) {
  EXPECT_EQ(refusal([](auto& o) { o.pretrained_model_name_or_path = ""; }),
            "--pretrained_model_name_or_path is required");
  EXPECT_EQ(refusal([](auto& o) { o.train_data_dir = std::nullopt; }),
            "--train_data_dir or --dataset_name is required");
  EXPECT_EQ(refusal([](auto& o) { o.train_data_dir = ""; }), "--train_data_dir or --dataset_name is required");
  EXPECT_EQ(refusal([](auto& o) {
              o.train_data_dir = std::nullopt;
              o.dataset_name = "owner/name";
            }),
            "");
  EXPECT_EQ(refusal([](auto& o) { o.output_dir = ""; }), "--output_dir: a folder expected, found ''");
}

TEST(TrainTextToImageOptions, RefuseValuesOutOfRange) {
  struct Case {
    const char *name, *value, *expected;
  };
  const std::vector<Case> cases = {
      {"rank", "0", "at least 1"},
      {"rank", "-4", "at least 1"},
      {"lora_alpha", "0.0", "above 0"},
      {"lora_alpha", "-1.0", "above 0"},
      {"lora_dropout", "-0.1", "at least 0, below 1"},
      {"lora_dropout", "1.0", "at least 0, below 1"},
      {"max_train_samples", "0", "at least 1"},
      {"resolution", "0", "a multiple of 8, at least 8"},
      {"resolution", "100", "a multiple of 8, at least 8"},
      {"resolution", "-8", "a multiple of 8, at least 8"},
      {"dataloader_num_workers", "-1", "at least 0"},
      {"caption_dropout_rate", "-0.1", "at least 0, at most 1"},
      {"caption_dropout_rate", "1.1", "at least 0, at most 1"},
      {"keep_tokens", "-1", "at least 0"},
      {"bucket_reso_steps", "0", "a multiple of 8, at least 8"},
      {"bucket_reso_steps", "12", "a multiple of 8, at least 8"},
      {"min_bucket_reso", "0", "at least 8"},
      {"max_bucket_reso", "7", "at least 8"},
      {"snr_gamma", "0.0", "above 0"},
      {"noise_offset", "-0.1", "at least 0"},
      {"huber_c", "0.0", "above 0"},
      {"huber_c", "-1.0", "above 0"},
      {"input_perturbation", "-0.1", "at least 0"},
      {"multires_noise_iterations", "-1", "at least 0, at most 32"},
      {"multires_noise_iterations", "33", "at least 0, at most 32"},
      {"multires_noise_discount", "0.0", "above 0, at most 1"},
      {"multires_noise_discount", "1.5", "above 0, at most 1"},
      {"min_timestep", "-1", "at least 0"},
      {"max_timestep", "0", "at least 1"},
      {"lr_num_cycles", "0", "at least 1"},
      {"lr_power", "-1.0", "at least 0"},
      {"adam_beta1", "1.0", "at least 0, below 1"},
      {"max_grad_norm", "0.0", "above 0"},
      {"lora_plus_ratio", "0.0", "above 0"},
      {"lora_plus_ratio", "-16.0", "above 0"},
      {"max_nonfinite_steps", "0", "at least 1"},
      {"ema_decay", "-0.1", "at least 0, below 1"},
      {"ema_decay", "1.0", "at least 0, below 1"},
      {"num_validation_images", "-1", "at least 0"},
      {"validation_epochs", "0", "at least 1"},
      {"validation_steps", "0", "at least 1"},
      {"validation_split", "-0.1", "at least 0, below 1"},
      {"validation_split", "1.0", "at least 0, below 1"},
      {"validation_loss_steps", "0", "at least 1"},
      {"early_stopping_patience", "0", "at least 1"},
      {"encode_memory", "ram", "one of memory, disk, off"},
      {"image_interpolation_mode", "cubic", "one of bicubic, bilinear, box, hamming, lanczos, nearest, nearest_exact"},
      {"loss_type", "l1", "one of l2, huber, smooth_l1"},
      {"huber_schedule", "linear", "one of constant, exponential, snr"},
      {"prediction_type", "sample", "one of epsilon, v_prediction"},
      {"algo", "oft", "one of lora, locon, loha, lokr, dora, pissa"},
      {"conv_rank", "0", "at least 1"},
      {"conv_alpha", "0.0", "above 0"},
      {"lokr_factor", "-2", "at least -1"},
      {"optimizer", "sgd", "one of adamw, adamw8bit, adafactor, lion, prodigy, schedulefree"},
      {"train_batch_size", "0", "at least 1"},
      {"num_train_epochs", "0", "at least 1"},
      {"max_train_steps", "0", "at least 1"},
      {"gradient_accumulation_steps", "0", "at least 1"},
      {"seed", "4294967296", "at least 0, at most 4294967295"},
      {"learning_rate", "-0.1", "at least 0"},
      {"lr_scheduler", "exponential",
       "one of linear, cosine, cosine_with_restarts, polynomial, constant, constant_with_warmup"},
      {"lr_warmup_steps", "-1", "at least 0"},
      {"adam_beta2", "1.0", "at least 0, below 1"},
      {"adam_weight_decay", "-0.1", "at least 0"},
      {"adam_epsilon", "-1.0", "at least 0"},
      {"device", "gpu", "one of auto, cpu, cuda"},
      {"mixed_precision", "fp8", "one of no, fp16, bf16"},
      {"local_rank", "-2", "at least -1"},
      {"checkpointing_steps", "0", "at least 1"},
      {"checkpoints_total_limit", "0", "at least 1"},
      {"rank", "four", "a whole number"},
      {"keep_tokens", "1.5", "a whole number"},
      {"min_timestep", "1e2", "a whole number"},
      {"max_nonfinite_steps", "", "a whole number"},
      {"huber_c", "nan", "a finite number"},
      {"ema_decay", "high", "a number"},
      {"lora_plus_ratio", "inf", "a finite number"},
      {"input_perturbation", "0,1", "a number"},
      {"validation_split", "10%", "a number"},
      {"use_ema", "perhaps", "no value, or true or false"},
      {"masked_loss", "", "no value, or true or false"},
  };
  for (const auto& [name, value, expected] : cases) {
    TrainTextToImageOptions options = good_options();
    const OptionList list = fields(options);
    try {
      list.at(name).assign({value});
      validate(options);
      ADD_FAILURE() << name << "=" << value << " is accepted";
    } catch (const UsageError& error) {
      EXPECT_EQ(error.what(), str("--", name, ": ", expected, " expected, found '", value, "'"));
      EXPECT_FALSE(error.hint().empty()) << error.what();
    }
  }
  TrainTextToImageOptions options;
  const OptionList list = fields(options);
  for (const Option& option : list.options()) {
    const bool tried =
        std::any_of(cases.begin(), cases.end(), [&](const Case& each) { return each.name == option.name(); });
    EXPECT_TRUE(tried || option.constraint().empty()) << "no bad value of --" << option.name() << " is tried";
  }
}

TEST(TrainTextToImageOptions, RefuseWhatDoesNotGoTogether) {
  EXPECT_EQ(refusal([](auto& o) {
              o.snr_gamma = 5;
              o.debiased_estimation_loss = true;
            }),
            "--snr_gamma cannot be used with --debiased_estimation_loss: both weigh the timesteps");
  EXPECT_EQ(refusal([](auto& o) { o.min_timestep = 1000; }),
            "--min_timestep is 1000, expected less than --max_timestep, which is 1000");
  EXPECT_EQ(refusal([](auto& o) {
              o.bucket = true;
              o.min_bucket_reso = 768;
              o.max_bucket_reso = 640;
            }),
            "--min_bucket_reso is 768, expected at most --max_bucket_reso, 640");
  EXPECT_EQ(refusal([](auto& o) {
              o.shuffle_caption = true;
              o.caption_separator = "";
            }),
            "--caption_separator: a text expected, found ''");
  EXPECT_EQ(refusal([](auto& o) { o.keep_best = true; }),
            "--keep_best needs --validation_split: there is no validation loss without it");
  EXPECT_EQ(refusal([](auto& o) { o.early_stopping_patience = 2; }),
            "--early_stopping_patience needs --validation_split: there is no validation loss without it");
  EXPECT_EQ(refusal([](auto& o) { o.validation_loss_steps = 2; }),
            "--validation_loss_steps needs --validation_split: there is no validation loss without it");
  EXPECT_EQ(refusal([](auto& o) {
              o.use_8bit_adam = true;
              o.optimizer = "prodigy";
            }),
            "--use_8bit_adam cannot be used with --optimizer=prodigy");
  EXPECT_EQ(refusal([](auto& o) { o.lokr_factor = 0; }), "--lokr_factor is 0, expected -1 or at least 1");
  EXPECT_EQ(refusal([](auto& o) {
              o.compat_bugs = true;
              o.mixed_precision = "bf16";
              o.optimizer = "lion";
            }),
            "--compat_bugs keeps the LoRA in bf16, which --optimizer=lion cannot train");
}

TEST(TrainTextToImageOptions, WarnAboutWhatHasNoEffect) {
  EXPECT_EQ(warnings_after([](auto&) {}), TextList{});
  EXPECT_EQ(warnings_after([](auto& o) { o.dataset_config_name = "en"; }),
            (TextList{"--dataset_config_name has no effect without --dataset_name"}));
  EXPECT_EQ(warnings_after([](auto& o) { o.keep_tokens = 1; }),
            (TextList{"--keep_tokens has no effect without --shuffle_caption"}));
  EXPECT_EQ(warnings_after([](auto& o) { o.keep_tokens = 1, o.shuffle_caption = true; }), TextList{});
  const TextList without_bucket = {
      "--bucket_no_upscale, --bucket_reso_steps, --min_bucket_reso and --max_bucket_reso have no effect without "
      "--bucket"};
  EXPECT_EQ(warnings_after([](auto& o) { o.bucket_no_upscale = true; }), without_bucket);
  EXPECT_EQ(warnings_after([](auto& o) { o.min_bucket_reso = 128; }), without_bucket);
  EXPECT_EQ(warnings_after([](auto& o) { o.min_bucket_reso = 128, o.bucket = true; }), TextList{});
  EXPECT_EQ(warnings_after([](auto& o) { o.huber_c = 0.2; }),
            (TextList{"--huber_c and --huber_schedule have no effect with --loss_type=l2"}));
  EXPECT_EQ(warnings_after([](auto& o) { o.multires_noise_discount = 0.5; }),
            (TextList{"--multires_noise_discount has no effect without --multires_noise_iterations"}));
  EXPECT_EQ(warnings_after([](auto& o) { o.ema_decay = 0.5; }),
            (TextList{"--ema_decay has no effect without --use_ema"}));
  EXPECT_EQ(warnings_after([](auto& o) { o.lokr_factor = 8; }),
            (TextList{"--lokr_factor has no effect without --algo=lokr"}));
  EXPECT_EQ(warnings_after([](auto& o) { o.lokr_factor = 8, o.algo = "lokr"; }), TextList{});
  EXPECT_EQ(warnings_after([](auto& o) { o.lora_plus_ratio = 16, o.algo = "loha"; }),
            (TextList{"--lora_plus_ratio has no effect with --algo=loha and lokr, which have no up matrices"}));
  EXPECT_EQ(warnings_after([](auto& o) { o.override_options = TextList{"learning_rate"}; }),
            (TextList{"--override has no effect without --resume_from_checkpoint"}));
  EXPECT_EQ(warnings_after([](auto& o) { o.optimizer = "prodigy"; }),
            (TextList{"--optimizer=prodigy finds its own rate, which --learning_rate only multiplies: 1 is usual"}));
  EXPECT_EQ(warnings_after([](auto& o) { o.optimizer = "schedulefree", o.lr_scheduler = "cosine"; }),
            (TextList{"--optimizer=schedulefree is meant to go without a falling rate: --lr_scheduler=constant is "
                      "usual"}));
}

}  // namespace
}  // namespace lorikeet
