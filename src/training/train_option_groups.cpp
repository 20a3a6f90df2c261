#include "training/train_option_groups.h"

namespace lorikeet {
namespace {

// numpy, whose seeding the peer goes through, takes no larger one.
constexpr double kLargestSeed = 4294967295.0;

}  // namespace

void add_model_options(OptionList& list, TrainOptions& o) {
  list.group("Model");
  list.add("pretrained_model_name_or_path", &o.pretrained_model_name_or_path,
           "The base model: a folder in Diffusers' layout, a single file of the original layout (.safetensors, .ckpt), "
           "or a Hugging Face id, which is downloaded where the cache lacks it.")
      .required();
  list.add("single_file_config", &o.single_file_config,
           "For a model in a single file: the folder in Diffusers' layout, or Hub id, that its configs, "
           "tokenizer and scheduler come from. Unset infers the configs and looks for a tokenizer in the cache.");
  list.add("revision", &o.revision, "Branch, tag or commit of a model given by its Hugging Face id.");
  list.add("variant", &o.variant, "Which weight files to read where there are several, such as fp16.");
}

void add_picture_options(OptionList& list, TrainOptions& o) {
  list.add("resolution", &o.resolution, "Pictures are resized to this shorter side, then cropped to a square of it.")
      .at_least(8)
      .multiple_of(8);
  list.add("center_crop", &o.center_crop, "Crop the middle of each picture; otherwise a random part, anew each time.");
  list.add("image_interpolation_mode", &o.image_interpolation_mode, "The filter pictures are resized with.")
      .choices({"bicubic", "bilinear", "box", "hamming", "lanczos", "nearest", "nearest_exact"});
  list.add("dataloader_num_workers", &o.dataloader_num_workers,
           "Threads that check the pictures before the first step and decode them ahead of it. The numbers drawn do "
           "not depend on it.")
      .at_least(0);
  list.add("masked_loss", &o.masked_loss,
           "Learn only from the white of each picture's mask: NAME.mask.png beside it, else its own alpha. A picture "
           "without either is learned from as a whole.");
}

void add_encode_options(OptionList& list, TrainOptions& o) {
  list.group("What is computed once");
  list.add("encode_memory", &o.encode_memory,
           "Where to keep what the frozen VAE and text encoder made of a picture or a caption: in memory, on disk too "
           "(for later runs), or nowhere. The losses are the same bits in every case.")
      .choices({"memory", "disk", "off"});
  list.add("cache_dir", &o.cache_dir,
           "Folder for --encode_memory=disk and for pictures taken out of Parquet files; unset takes cache in "
           "--output_dir.");
}

void add_lora_options(OptionList& list, TrainOptions& o) {
  list.group("LoRA");
  list.add(
          "algo", &o.algo,
          "What is trained: lora; locon, a LoRA of every layer; loha, lokr: Hadamard and Kronecker products (LyCORIS); "
          "dora: direction and length apart (PEFT); pissa: a LoRA that starts with the weights' principal parts.")
      .choices({"lora", "locon", "loha", "lokr", "dora", "pissa"});
  list.add("rank", &o.rank, "Rank of the update matrices: more can learn more, and makes a larger file.").at_least(1);
  list.add("lora_alpha", &o.lora_alpha, "The update is scaled by alpha / rank; unset means alpha = rank, a scale of 1.")
      .above(0);
  list.add("conv_rank", &o.conv_rank,
           "Rank for convolutions that see more than one pixel; unset means --rank. --rank_pattern goes before it.")
      .at_least(1);
  list.add("conv_alpha", &o.conv_alpha, "Alpha for the same convolutions; unset means --lora_alpha.").above(0);
  list.add("lokr_factor", &o.lokr_factor,
           "Size of lokr's smaller factor; -1 makes the two as near to each other as can be.")
      .at_least(-1);
  list.add("lora_dropout", &o.lora_dropout, "Probability of dropping an input of the update while training.")
      .at_least(0)
      .below(1);
  list.add("use_rslora", &o.use_rslora, "Scale the update by alpha / sqrt(rank), which keeps high ranks learning.");
  list.add("train_text_encoder", &o.train_text_encoder, "Train a LoRA of the text encoder too. Costs memory and time.");
  list.add("target_modules", &o.target_modules,
           "Names of the UNet's layers that get an update; a name matches every layer whose path ends in it. Any "
           "linear or convolution layer will do, such as ff.net.2, proj_in or conv1; a pattern such as *.attn2.* is "
           "for the whole path. Unset means to_k, to_q, to_v and to_out.0; with --algo=locon, loha and lokr every "
           "linear layer and convolution, as LyCORIS' preset full.");
  list.add("text_encoder_target_modules", &o.text_encoder_target_modules,
           "The same for the text encoder, with --train_text_encoder. Unset means q_proj, k_proj, v_proj and out_proj; "
           "with --algo=locon, loha and lokr also fc1 and fc2.");
  list.add("rank_pattern", &o.rank_pattern,
           "Other ranks for some layers, as NAME=RANK: attn2.to_k=8, or a pattern for the whole path, *.attn2.*=8. "
           "The first that matches counts.");
}

void add_loss_options(OptionList& list, TrainOptions& o) {
  list.group("Loss");
  list.add("snr_gamma", &o.snr_gamma,
           "Weigh timesteps by min(SNR, gamma) (Hang et al. 2023, arXiv 2303.09556; 5 is usual). Unset weighs all "
           "alike.")
      .above(0);
  list.add("noise_offset", &o.noise_offset,
           "Add noise that is the same for a whole channel, of this strength: darker and brighter pictures (0.1 is "
           "usual).")
      .at_least(0);
  list.add("prediction_type", &o.prediction_type,
           "What the UNet predicts, where the model's scheduler does not say it right.")
      .choices({"epsilon", "v_prediction"});
  list.add("debiased_estimation_loss", &o.debiased_estimation_loss,
           "Weigh timesteps by 1 / sqrt(SNR), for v-prediction by 1 / (SNR + 1) (arXiv 2310.08442). Not with "
           "--snr_gamma.");
  list.add("loss_type", &o.loss_type,
           "How a wrong prediction counts: its square, or for large errors less, by the pseudo-Huber loss or its "
           "smooth_l1 form.")
      .choices({"l2", "huber", "smooth_l1"});
  list.add("huber_schedule", &o.huber_schedule,
           "How the huber losses' threshold depends on the timestep: not, falling exponentially to --huber_c, or by "
           "the SNR.")
      .choices({"constant", "exponential", "snr"});
  list.add("huber_c", &o.huber_c, "The huber losses' threshold; small ones forgive outliers.").above(0);
  list.add("input_perturbation", &o.input_perturbation,
           "Disturb the noise that is added to the latents, not the one to predict, by this much (arXiv 2301.11706; "
           "0.1 is usual).")
      .at_least(0);
  list.add("multires_noise_iterations", &o.multires_noise_iterations,
           "Add so many coarser layers to the noise (pyramid noise; 6 to 10 is usual); 0 adds none.")
      .at_least(0)
      .at_most(32);
  list.add("multires_noise_discount", &o.multires_noise_discount, "How much weaker each coarser layer is.")
      .above(0)
      .at_most(1);
  list.add("min_timestep", &o.min_timestep, "The least noisy timestep to train on.").at_least(0);
  list.add("max_timestep", &o.max_timestep, "Train only on timesteps below this one.").at_least(1);
}

void add_length_options(OptionList& list, TrainOptions& o) {
  list.group("Length of the run");
  list.add("train_batch_size", &o.train_batch_size, "Pictures in a batch.").at_least(1);
  list.add("num_train_epochs", &o.num_train_epochs, "Passes over the pictures, unless --max_train_steps is given.")
      .at_least(1);
  list.add("max_train_steps", &o.max_train_steps, "Optimizer steps in all; overrides --num_train_epochs.").at_least(1);
  list.add("gradient_accumulation_steps", &o.gradient_accumulation_steps, "Batches whose gradients make up one step.")
      .at_least(1);
  list.add("seed", &o.seed, "Seed of every random draw; the same seed gives the same LoRA. Unset takes a new one.")
      .at_least(0)
      .at_most(kLargestSeed);
}

void add_optimizer_options(OptionList& list, TrainOptions& o) {
  list.group("Learning rate and optimizer");
  list.add("learning_rate", &o.learning_rate, "Learning rate after the warm-up.").at_least(0);
  list.add("scale_lr", &o.scale_lr, "Multiply the learning rate by batch size and accumulation steps.");
  list.add("lr_scheduler", &o.lr_scheduler, "How the learning rate goes on after the warm-up.")
      .choices({"linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"});
  list.add("lr_warmup_steps", &o.lr_warmup_steps,
           "Steps over which the learning rate rises from 0; the constant schedule has no warm-up.")
      .at_least(0);
  list.add("lr_num_cycles", &o.lr_num_cycles, "Restarts of cosine_with_restarts.").at_least(1);
  list.add("lr_power", &o.lr_power, "Exponent of the polynomial schedule.").at_least(0);
  list.add("optimizer", &o.optimizer,
           "What turns gradients into steps. prodigy finds its own rate (give --learning_rate=1); schedulefree wants "
           "--lr_scheduler=constant; lion a tenth of AdamW's rate.")
      .choices({"adamw", "adamw8bit", "adafactor", "lion", "prodigy", "schedulefree"});
  list.add("use_8bit_adam", &o.use_8bit_adam, "The same as --optimizer=adamw8bit: AdamW with its moments in 8 bits.");
  list.add("adam_beta1", &o.adam_beta1, "Decay of the mean of gradients.").at_least(0).below(1);
  list.add("adam_beta2", &o.adam_beta2, "Decay of the mean of squared gradients.").at_least(0).below(1);
  list.add("adam_weight_decay", &o.adam_weight_decay, "Decoupled weight decay.").at_least(0);
  list.add("adam_epsilon", &o.adam_epsilon, "Guard against a division by zero.").at_least(0);
  list.add("max_grad_norm", &o.max_grad_norm, "Gradients together longer than this are shortened to it.").above(0);
  list.add("lora_plus_ratio", &o.lora_plus_ratio,
           "Learning rate of the up matrices over that of the down matrices (LoRA+, arXiv 2402.12354; 16 is usual).")
      .above(0);
  list.add("max_nonfinite_steps", &o.max_nonfinite_steps,
           "Steps in a row whose loss or gradient is not finite are skipped and named; after so many the run ends, "
           "with its checkpoints intact.")
      .at_least(1);
  list.group("Average of the LoRA");
  list.add("use_ema", &o.use_ema,
           "Keep an exponential moving average of the LoRA; validation and the saved LoRA are made of it.");
  list.add("ema_decay", &o.ema_decay, "How slowly the average moves; it starts faster: min(this, (1 + n) / (10 + n)).")
      .at_least(0)
      .below(1);
}

void add_machine_options(OptionList& list, TrainOptions& o) {
  list.group("Machine");
  list.add("device", &o.device, "Where to compute; auto takes a GPU when one can be used.")
      .choices({"auto", "cpu", "cuda"});
  list.add("mixed_precision", &o.mixed_precision,
           "Number format of the frozen model and of the arithmetic; the LoRA itself stays fp32. Unset takes "
           "ACCELERATE_MIXED_PRECISION, else no. fp16 needs a GPU.")
      .choices({"no", "fp16", "bf16"});
  list.add("gradient_checkpointing", &o.gradient_checkpointing,
           "Compute activations again in the backward pass: less memory, more time, the same numbers.");
  list.add("allow_tf32", &o.allow_tf32, "Let fp32 matrix products on a GPU round to TF32: faster, less exact.");
  list.add("enable_xformers_memory_efficient_attention", &o.enable_xformers_memory_efficient_attention,
           "Accepted for the script's sake: attention here is memory-efficient anyway.");
  list.add("local_rank", &o.local_rank, "Number of this process on this machine; LOCAL_RANK overrides it.")
      .at_least(-1);
}

void add_output_options(OptionList& list, TrainOptions& o) {
  list.group("Output");
  list.add("output_dir", &o.output_dir, "Folder for the LoRA, the checkpoints and the logs.");
  list.add("logging_dir", &o.logging_dir, "Folder for the logs, inside --output_dir.");
  list.add("report_to", &o.report_to,
           "Where the loss goes besides the JSONL log, which is always written: tensorboard, wandb, jsonl, several by "
           "comma, all, or none.");
  list.add("checkpointing_steps", &o.checkpointing_steps, "Save a checkpoint to resume from every so many steps.")
      .at_least(1);
  list.add("checkpoints_total_limit", &o.checkpoints_total_limit,
           "How many checkpoints to keep; the oldest goes first. Unset keeps all.")
      .at_least(1);
  list.add("resume_from_checkpoint", &o.resume_from_checkpoint,
           "Go on from this checkpoint of --output_dir (checkpoint-500), or from the last one with latest. Checkpoints "
           "of Diffusers' scripts will do, as far as what they hold goes.");
  list.add("override", &o.override_options,
           "Options that may differ from those the checkpoint was made with, such as learning_rate.");
}

void add_validation_options(OptionList& list, TrainOptions& o) {
  list.group("Validation");
  list.add("validation_prompt", &o.validation_prompt, "Draw pictures from this prompt while training.");
  list.add("validation_prompts", &o.validation_prompts, "File with more of them, one prompt a line.");
  list.add("num_validation_images", &o.num_validation_images, "How many pictures of each prompt.").at_least(0);
  list.add("validation_epochs", &o.validation_epochs, "Draw them every so many epochs.").at_least(1);
  list.add("validation_steps", &o.validation_steps, "Draw them every so many steps instead.").at_least(1);
  list.add("validation_split", &o.validation_split,
           "Share of the pictures that is held out, to measure a validation loss on: the same noise and timesteps "
           "every time.")
      .at_least(0)
      .below(1);
  list.add("validation_loss_steps", &o.validation_loss_steps,
           "Measure it every so many steps; unset means at every epoch's end.")
      .at_least(1);
  list.add("keep_best", &o.keep_best, "Keep the LoRA of the lowest validation loss in the folder best.");
  list.add("early_stopping_patience", &o.early_stopping_patience,
           "End the run when so many validation losses in a row were no lower than the best.")
      .at_least(1);
}

void add_hub_options(OptionList& list, TrainOptions& o) {
  list.group("Hugging Face Hub");
  list.add("push_to_hub", &o.push_to_hub, "Upload the LoRA, with a model card, when it is done.");
  list.add("hub_token", &o.hub_token,
           "Token for the upload instead of the one that is logged in; it is written nowhere.")
      .secret();
  list.add("hub_model_id", &o.hub_model_id, "Repository to upload to; unset takes the name of --output_dir.");
  list.add("hub_private_repo", &o.hub_private_repo, "Where the repository is made, it is private.");
  list.add("hub_create_pr", &o.hub_create_pr, "Open a pull request in the repository, which must exist.");
  list.add("push_checkpoints", &o.push_checkpoints, "Upload the checkpoints too, with the optimizer's state.");
}

void add_lorikeet_options(OptionList& list, TrainOptions& o) {
  list.group("Lorikeet");
  list.add("config", &o.config, "Read options from this .toml or .json file; the command line goes before it.")
      .command_line_only();
  list.add("dry_run", &o.dry_run, "Check everything, print what would be done, and stop.").command_line_only();
  list.add("compat_bugs", &o.compat_bugs,
           "Do as the script does even where Lorikeet deliberately does otherwise (docs/differences.md).");
}

}  // namespace lorikeet
