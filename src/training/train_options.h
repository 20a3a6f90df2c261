// The options that both training recipes share: those that Diffusers' two LoRA scripts have in common, under their own
// names and with their own defaults, and ours.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/options.h"

namespace lorikeet {

/// Each member is the flag of the same name; the field lists hold what it means and which values it may take.
struct TrainOptions {
  // Model
  std::string pretrained_model_name_or_path;
  std::optional<std::string> single_file_config;
  std::optional<std::string> revision;
  std::optional<std::string> variant;
  std::optional<std::string> tokenizer_name;  // a flag of DreamBooth only

  // Pictures and texts
  int64_t resolution = 512;
  bool center_crop = false;
  std::string image_interpolation_mode = "lanczos";
  int64_t dataloader_num_workers = 0;
  bool masked_loss = false;
  std::optional<int64_t> tokenizer_max_length;   // a flag of DreamBooth only
  bool text_encoder_use_attention_mask = false;  // likewise

  // What is computed once
  std::string encode_memory = "memory";
  std::optional<std::string> cache_dir;

  // LoRA
  std::string algo = "lora";
  int64_t rank = 4;
  std::optional<double> lora_alpha;
  std::optional<int64_t> conv_rank;
  std::optional<double> conv_alpha;
  int64_t lokr_factor = -1;
  double lora_dropout = 0.0;
  bool use_rslora = false;
  bool train_text_encoder = false;
  std::optional<std::vector<std::string>> target_modules;               // see unet_targets
  std::optional<std::vector<std::string>> text_encoder_target_modules;  // see text_encoder_targets
  std::optional<std::vector<std::string>> rank_pattern;

  // Loss
  std::optional<double> snr_gamma;
  double noise_offset = 0;
  std::optional<std::string> prediction_type;
  bool debiased_estimation_loss = false;
  std::string loss_type = "l2";
  std::string huber_schedule = "snr";
  double huber_c = 0.1;
  double input_perturbation = 0;
  int64_t multires_noise_iterations = 0;
  double multires_noise_discount = 0.3;
  int64_t min_timestep = 0;
  int64_t max_timestep = 1000;

  // Length of the run
  int64_t train_batch_size = 4;
  int64_t num_train_epochs = 1;
  std::optional<int64_t> max_train_steps;
  int64_t gradient_accumulation_steps = 1;
  std::optional<int64_t> seed;

  // Learning rate and optimizer
  double learning_rate = 1e-4;
  bool scale_lr = false;
  std::string lr_scheduler = "constant";
  int64_t lr_warmup_steps = 500;
  int64_t lr_num_cycles = 1;
  double lr_power = 1.0;
  std::string optimizer = "adamw";
  bool use_8bit_adam = false;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double adam_weight_decay = 1e-2;
  double adam_epsilon = 1e-8;
  double max_grad_norm = 1.0;
  double lora_plus_ratio = 1.0;
  int64_t max_nonfinite_steps = 3;

  // Average of the LoRA
  bool use_ema = false;
  double ema_decay = 0.9999;

  // Machine
  std::string device = "auto";
  std::optional<std::string> mixed_precision;
  bool gradient_checkpointing = false;
  bool allow_tf32 = false;
  bool enable_xformers_memory_efficient_attention = false;
  int64_t local_rank = -1;

  // Output
  std::string output_dir;
  std::string logging_dir = "logs";
  std::string report_to = "tensorboard";
  int64_t checkpointing_steps = 500;
  std::optional<int64_t> checkpoints_total_limit;
  std::optional<std::string> resume_from_checkpoint;
  std::optional<std::vector<std::string>> override_options;  // --override

  // Validation
  std::optional<std::string> validation_prompt;
  std::optional<std::string> validation_prompts;
  int64_t num_validation_images = 4;
  int64_t validation_epochs = 1;
  std::optional<int64_t> validation_steps;
  double validation_split = 0;
  std::optional<int64_t> validation_loss_steps;
  bool keep_best = false;
  std::optional<int64_t> early_stopping_patience;

  // Hub
  bool push_to_hub = false;
  std::optional<std::string> hub_token;
  std::optional<std::string> hub_model_id;
  bool hub_private_repo = false;
  bool hub_create_pr = false;
  bool push_checkpoints = false;

  // Lorikeet
  std::optional<std::string> config;
  bool dry_run = false;
  bool compat_bugs = false;

  /// The layers that get an update: those given, or else what is usual for `algo`: the attention's projections; for
  /// locon, loha and lokr every linear layer and convolution of the UNet, and the text encoder's projections and MLPs.
  std::vector<std::string> unet_targets() const;
  std::vector<std::string> text_encoder_targets() const;
  /// Whether anything is drawn or measured from these options' validation part.
  bool draws_validation_images() const { return validation_prompt || validation_prompts; }
  /// The optimizer's name with --use_8bit_adam taken into account.
  std::string optimizer_name() const { return use_8bit_adam ? "adamw8bit" : optimizer; }
};

/// Takes over what `accelerate launch` says in the environment: ACCELERATE_MIXED_PRECISION where `mixed_precision` is
/// unset, ACCELERATE_USE_CPU where `device` is "auto", LOCAL_RANK always. Throws UsageError for WORLD_SIZE > 1, and for
/// ACCELERATE_GRADIENT_ACCUMULATION_STEPS that contradict `gradient_accumulation_steps`.
void apply_environment(TrainOptions& options);

}  // namespace lorikeet
