// The options of `lorikeet train dreambooth`: the 59 of Diffusers' train_dreambooth_lora.py under their own names
// and with their own defaults, and a few of ours.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/options.h"

namespace lorikeet {

/// Each member is the flag of the same name; `fields` holds what it means and which values it may take.
struct TrainDreamboothOptions {
  // Model
  std::string pretrained_model_name_or_path;
  std::optional<std::string> revision;
  std::optional<std::string> variant;
  std::optional<std::string> tokenizer_name;

  // Pictures and prompts
  std::string instance_data_dir;
  std::string instance_prompt;
  int64_t resolution = 512;
  bool center_crop = false;
  std::string image_interpolation_mode = "lanczos";
  int64_t dataloader_num_workers = 0;
  std::optional<int64_t> tokenizer_max_length;
  bool text_encoder_use_attention_mask = false;
  bool pre_compute_text_embeddings = false;

  // Prior preservation
  bool with_prior_preservation = false;
  std::optional<std::string> class_data_dir;
  std::optional<std::string> class_prompt;
  double prior_loss_weight = 1.0;
  int64_t num_class_images = 100;
  int64_t sample_batch_size = 4;
  std::optional<std::string> prior_generation_precision;

  // LoRA
  int64_t rank = 4;
  std::optional<double> lora_alpha;
  double lora_dropout = 0.0;
  bool train_text_encoder = false;
  std::vector<std::string> target_modules = {"to_k", "to_q", "to_v", "to_out.0"};
  std::vector<std::string> text_encoder_target_modules = {"q_proj", "k_proj", "v_proj", "out_proj"};

  // Length of the run
  int64_t train_batch_size = 4;
  int64_t num_train_epochs = 1;
  std::optional<int64_t> max_train_steps;
  int64_t gradient_accumulation_steps = 1;
  std::optional<int64_t> seed;

  // Learning rate and optimizer
  double learning_rate = 5e-4;
  bool scale_lr = false;
  std::string lr_scheduler = "constant";
  int64_t lr_warmup_steps = 500;
  int64_t lr_num_cycles = 1;
  double lr_power = 1.0;
  bool use_8bit_adam = false;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double adam_weight_decay = 1e-2;
  double adam_epsilon = 1e-8;
  double max_grad_norm = 1.0;

  // Machine
  std::string device = "auto";
  std::optional<std::string> mixed_precision;
  bool gradient_checkpointing = false;
  bool allow_tf32 = false;
  bool enable_xformers_memory_efficient_attention = false;
  int64_t local_rank = -1;

  // Output
  std::string output_dir = "lora-dreambooth-model";
  std::string logging_dir = "logs";
  std::string report_to = "tensorboard";
  int64_t checkpointing_steps = 500;
  std::optional<int64_t> checkpoints_total_limit;
  std::optional<std::string> resume_from_checkpoint;

  // Validation
  std::optional<std::string> validation_prompt;
  int64_t num_validation_images = 4;
  int64_t validation_epochs = 50;

  // Hub
  bool push_to_hub = false;
  std::optional<std::string> hub_token;
  std::optional<std::string> hub_model_id;

  // Other models than Stable Diffusion
  std::optional<std::vector<std::string>> validation_images;
  std::optional<std::string> class_labels_conditioning;

  // Lorikeet
  std::optional<std::string> config;
  bool dry_run = false;
  bool compat_bugs = false;
};

OptionList fields(TrainDreamboothOptions& options);

/// Takes over what `accelerate launch` says in the environment: ACCELERATE_MIXED_PRECISION where `mixed_precision` is
/// unset, ACCELERATE_USE_CPU where `device` is "auto", LOCAL_RANK always. Throws UsageError for WORLD_SIZE > 1, and for
/// ACCELERATE_GRADIENT_ACCUMULATION_STEPS that contradict `gradient_accumulation_steps`.
void apply_environment(TrainDreamboothOptions& options);

/// Checks every option by itself and with the others, without looking at files or devices. Throws UsageError.
void validate(const TrainDreamboothOptions& options);

/// Checks what depends on the device that was chosen: fp16 needs a GPU. Throws UsageError.
void validate_for_device(const TrainDreamboothOptions& options, bool device_is_cpu);

/// What is allowed, but has no effect or not the one it may seem to have; one sentence each.
std::vector<std::string> warnings(const TrainDreamboothOptions& options);

}  // namespace lorikeet
