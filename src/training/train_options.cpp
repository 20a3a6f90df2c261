// What no single option can tell: how they go with each other, with the environment and with the device.

#include "training/train_options.h"

#include <cctype>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "core/errors.h"
#include "core/text.h"
#include "tracking/report_to.h"

namespace lorikeet {
namespace {

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

int64_t environment_number(const char* name, int64_t otherwise) {
  const auto text = environment(name);
  if (!text) return otherwise;
  char* end = nullptr;
  const long long value = std::strtoll(text->c_str(), &end, 10);
  if (*end != '\0') {
    throw UsageError(str("the environment's ", name, ": a whole number expected, found '", *text, "'"), "unset it");
  }
  return value;
}

/// Yes and no as accelerate reads them.
bool environment_flag(const char* name) {
  auto text = environment(name).value_or("no");
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text == "1" || text == "true" || text == "yes" || text == "y" || text == "t" || text == "on";
}

void check_hub(const TrainOptions& o) {
  if (parse_report_to(o.report_to).wandb && o.hub_token) {
    throw UsageError("--report_to=wandb cannot be used with --hub_token: the token would be stored in the run's record",
                     "log in with `hf auth login` instead of giving --hub_token");
  }
  if (o.push_to_hub) {
    throw UsageError("--push_to_hub is not available yet",
                     "leave it out, and upload the LoRA afterwards with `hf upload`");
  }
}

void check_loss(const TrainOptions& o) {
  if (o.snr_gamma && o.debiased_estimation_loss) {
    throw UsageError("--snr_gamma cannot be used with --debiased_estimation_loss: both weigh the timesteps",
                     "leave one out");
  }
  if (o.min_timestep >= o.max_timestep) {
    throw UsageError(
        str("--min_timestep is ", o.min_timestep, ", expected less than --max_timestep, which is ", o.max_timestep),
        "give a range with at least one timestep in it");
  }
}

void check_optimizer(const TrainOptions& o) {
  if (o.use_8bit_adam && o.optimizer != "adamw" && o.optimizer != "adamw8bit") {
    throw UsageError(str("--use_8bit_adam cannot be used with --optimizer=", o.optimizer), "leave one out");
  }
  if (o.compat_bugs && o.mixed_precision == "bf16" && o.optimizer_name() != "adamw") {
    throw UsageError(
        str("--compat_bugs keeps the LoRA in bf16, which --optimizer=", o.optimizer_name(), " cannot train"),
        "leave --compat_bugs out, or use --optimizer=adamw");
  }
}

void check_validation(const TrainOptions& o) {
  if (o.validation_split > 0) return;
  const char* without = o.keep_best                 ? "--keep_best"
                        : o.early_stopping_patience ? "--early_stopping_patience"
                        : o.validation_loss_steps   ? "--validation_loss_steps"
                                                    : nullptr;
  if (without == nullptr) return;
  throw UsageError(str(without, " needs --validation_split: there is no validation loss without it"),
                   "give --validation_split=0.1, say");
}

}  // namespace

void apply_environment(TrainOptions& options) {
  if (const int64_t processes = environment_number("WORLD_SIZE", 1); processes > 1) {
    throw UsageError(str("training in several processes is not available yet, and WORLD_SIZE is ", processes),
                     "launch one process: `accelerate launch --num_processes=1 --no_python lorikeet ...`");
  }
  const int64_t rank = environment_number("LOCAL_RANK", -1);
  if (rank != -1) options.local_rank = rank;
  if (options.device == "auto" && environment_flag("ACCELERATE_USE_CPU")) options.device = "cpu";
  if (const int64_t group = environment_number("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", 1);
      group != 1 && group != options.gradient_accumulation_steps) {
    throw UsageError(str("the environment's ACCELERATE_GRADIENT_ACCUMULATION_STEPS is ", group,
                         ", but --gradient_accumulation_steps is ", options.gradient_accumulation_steps),
                     str("give --gradient_accumulation_steps=", group, ", or unset the variable"));
  }
  if (options.mixed_precision) return;
  if (const auto precision = environment("ACCELERATE_MIXED_PRECISION")) {
    if (*precision != "no" && *precision != "fp16" && *precision != "bf16") {
      throw UsageError(
          str("the environment's ACCELERATE_MIXED_PRECISION: one of no, fp16, bf16 expected, found '", *precision, "'"),
          "give --mixed_precision, which goes before it");
    }
    options.mixed_precision = precision;
  }
}

void check_text(const char* flag, const std::optional<std::string>& text) {
  if (!text) return;
  try {
    nlohmann::json(*text).dump();
  } catch (const nlohmann::json::type_error&) {
    throw UsageError(str("--", flag, ": the text is not UTF-8"), "save the script that gives it as UTF-8");
  }
}

void validate_shared(const TrainOptions& options) {
  check_text("validation_prompt", options.validation_prompt);
  if (options.output_dir.empty()) throw UsageError("--output_dir: a folder expected, found ''", "name a folder");
  check_hub(options);
  check_loss(options);
  check_optimizer(options);
  check_validation(options);
}

void validate_for_device(const TrainOptions& options, bool device_is_cpu) {
  if (!device_is_cpu) return;
  if (options.mixed_precision == "fp16") {
    throw UsageError("--mixed_precision=fp16 needs a GPU, and this run is on the CPU",
                     "use --mixed_precision=bf16 or --mixed_precision=no");
  }
}

std::vector<std::string> shared_warnings(const TrainOptions& options) {
  std::vector<std::string> notes;
  const TrainOptions defaults;
  const auto note = [&](bool when, const char* text) {
    if (when) notes.emplace_back(text);
  };
  note(options.hub_token.has_value(), "--hub_token has no effect without --push_to_hub");
  note(options.hub_model_id.has_value(), "--hub_model_id has no effect without --push_to_hub");
  note(options.enable_xformers_memory_efficient_attention,
       "--enable_xformers_memory_efficient_attention: attention here is memory-efficient anyway");
  note(!options.train_text_encoder && options.text_encoder_target_modules != defaults.text_encoder_target_modules,
       "--text_encoder_target_modules has no effect without --train_text_encoder");
  note(options.lr_scheduler == "constant" && options.lr_warmup_steps > 0 &&
           options.lr_warmup_steps != defaults.lr_warmup_steps,
       "--lr_warmup_steps has no effect with --lr_scheduler=constant; constant_with_warmup has one");
  note(options.loss_type == "l2" &&
           (options.huber_c != defaults.huber_c || options.huber_schedule != defaults.huber_schedule),
       "--huber_c and --huber_schedule have no effect with --loss_type=l2");
  note(options.multires_noise_iterations == 0 && options.multires_noise_discount != defaults.multires_noise_discount,
       "--multires_noise_discount has no effect without --multires_noise_iterations");
  note(!options.use_ema && options.ema_decay != defaults.ema_decay, "--ema_decay has no effect without --use_ema");
  note(options.override_options && !options.resume_from_checkpoint,
       "--override has no effect without --resume_from_checkpoint");
  note(options.optimizer == "prodigy" && options.learning_rate < 0.1,
       "--optimizer=prodigy finds its own rate, which --learning_rate only multiplies: 1 is usual");
  note(options.optimizer == "schedulefree" && options.lr_scheduler != "constant" &&
           options.lr_scheduler != "constant_with_warmup",
       "--optimizer=schedulefree is meant to go without a falling rate: --lr_scheduler=constant is usual");
  return notes;
}

}  // namespace lorikeet
