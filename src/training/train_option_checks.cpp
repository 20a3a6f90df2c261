#include "training/train_option_checks.h"

#include <nlohmann/json.hpp>

#include "core/errors.h"
#include "core/text.h"
#include "tracking/report_to.h"

namespace lorikeet {
namespace {

void check_hub(const TrainOptions& o) {
  if (parse_report_to(o.report_to).wandb && o.hub_token) {
    throw UsageError("--report_to=wandb cannot be used with --hub_token: the token would be stored in the run's record",
                     "log in with `lorikeet auth login` instead of giving --hub_token");
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

void check_lora(const TrainOptions& o) {
  if (o.lokr_factor != -1 && o.lokr_factor < 1) {
    throw UsageError(str("--lokr_factor is ", o.lokr_factor, ", expected -1 or at least 1"),
                     "-1 takes factors as near to each other as can be");
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
  check_lora(options);
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
  const bool stays = !options.push_to_hub;
  note(stays && options.hub_token, "--hub_token has no effect without --push_to_hub");
  note(stays && options.hub_model_id, "--hub_model_id has no effect without --push_to_hub");
  note(stays && options.hub_private_repo, "--hub_private_repo has no effect without --push_to_hub");
  note(stays && options.hub_create_pr, "--hub_create_pr has no effect without --push_to_hub");
  note(stays && options.push_checkpoints, "--push_checkpoints has no effect without --push_to_hub");
  note(options.enable_xformers_memory_efficient_attention,
       "--enable_xformers_memory_efficient_attention: attention here is memory-efficient anyway");
  note(!options.train_text_encoder && options.text_encoder_target_modules,
       "--text_encoder_target_modules has no effect without --train_text_encoder");
  note(options.algo != "lokr" && options.lokr_factor != defaults.lokr_factor,
       "--lokr_factor has no effect without --algo=lokr");
  note((options.algo == "loha" || options.algo == "lokr") && options.lora_plus_ratio != defaults.lora_plus_ratio,
       "--lora_plus_ratio has no effect with --algo=loha and lokr, which have no up matrices");
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
