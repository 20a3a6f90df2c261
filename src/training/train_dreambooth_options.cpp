#include "training/train_dreambooth_options.h"

#include <cctype>
#include <cstdlib>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

// numpy, whose seeding the peer goes through, takes no larger one.
constexpr double kLargestSeed = 4294967295.0;

void add_model(OptionList& list, TrainDreamboothOptions& o) {
  list.group("Model");
  list.add("pretrained_model_name_or_path", &o.pretrained_model_name_or_path,
           "The base model: a folder in Diffusers' layout, or a Hugging Face id that is in this machine's cache.")
      .required();
  list.add("revision", &o.revision, "Branch, tag or commit of a model given by its Hugging Face id.");
  list.add("variant", &o.variant, "Which weight files to read where there are several, such as fp16.");
  list.add("tokenizer_name", &o.tokenizer_name, "Tokenizer folder or id, when it is not the base model's own.");
}

void add_data(OptionList& list, TrainDreamboothOptions& o) {
  list.group("Pictures and prompts");
  list.add("instance_data_dir", &o.instance_data_dir, "Folder with the pictures of what is to be learnt.").required();
  list.add("instance_prompt", &o.instance_prompt,
           "The prompt for these pictures, with the new word in it: \"a photo of sks dog\".")
      .required();
  list.add("resolution", &o.resolution, "Pictures are resized to this shorter side, then cropped to a square of it.")
      .at_least(8)
      .multiple_of(8);
  list.add("center_crop", &o.center_crop, "Crop the middle of each picture; otherwise a random part, anew each time.");
  list.add("image_interpolation_mode", &o.image_interpolation_mode, "The filter pictures are resized with.")
      .choices({"bicubic", "bilinear", "box", "hamming", "lanczos", "nearest", "nearest_exact"});
  list.add("dataloader_num_workers", &o.dataloader_num_workers,
           "Threads that decode the pictures before the first step. The numbers drawn do not depend on it.")
      .at_least(0);
  list.add("tokenizer_max_length", &o.tokenizer_max_length,
           "Tokens a prompt is padded or cut to; unset takes the tokenizer's own length.")
      .at_least(1);
  list.add("text_encoder_use_attention_mask", &o.text_encoder_use_attention_mask,
           "Keep the text encoder from looking at padding.");
  list.add("pre_compute_text_embeddings", &o.pre_compute_text_embeddings,
           "Encode the prompts once and drop the text encoder from memory. Not with --train_text_encoder.");
}

void add_prior(OptionList& list, TrainDreamboothOptions& o) {
  list.group("Prior preservation");
  list.add("with_prior_preservation", &o.with_prior_preservation,
           "Train on pictures of the whole class as well, so that the model does not forget what others of it look "
           "like. Needs --class_data_dir and --class_prompt.");
  list.add("class_data_dir", &o.class_data_dir, "Folder with pictures of the class; missing ones are drawn into it.");
  list.add("class_prompt", &o.class_prompt, "The prompt for class pictures: \"a photo of dog\".");
  list.add("prior_loss_weight", &o.prior_loss_weight, "Weight of the class pictures' loss.").at_least(0);
  list.add("num_class_images", &o.num_class_images, "How many class pictures there have to be before training.")
      .at_least(1);
  list.add("sample_batch_size", &o.sample_batch_size, "How many class pictures are drawn at once.").at_least(1);
  list.add("prior_generation_precision", &o.prior_generation_precision,
           "Number format for drawing class pictures; unset or no means fp16 on a GPU and fp32 elsewhere.")
      .choices({"no", "fp32", "fp16", "bf16"});
}

void add_lora(OptionList& list, TrainDreamboothOptions& o) {
  list.group("LoRA");
  list.add("rank", &o.rank, "Rank of the update matrices: more can learn more, and makes a larger file.").at_least(1);
  list.add("lora_alpha", &o.lora_alpha, "The update is scaled by alpha / rank; unset means alpha = rank, a scale of 1.")
      .above(0);
  list.add("lora_dropout", &o.lora_dropout, "Probability of dropping an input of the update while training.")
      .at_least(0)
      .below(1);
  list.add("train_text_encoder", &o.train_text_encoder, "Train a LoRA of the text encoder too. Costs memory and time.");
  list.add("target_modules", &o.target_modules,
           "Names of the UNet's layers that get an update; a name matches every layer whose path ends in it. Any "
           "linear or convolution layer will do, such as ff.net.2, proj_in or conv1.");
  list.add("text_encoder_target_modules", &o.text_encoder_target_modules,
           "The same for the text encoder, with --train_text_encoder.");
}

void add_length(OptionList& list, TrainDreamboothOptions& o) {
  list.group("Length of the run");
  list.add("train_batch_size", &o.train_batch_size, "Pictures in a batch (with as many class pictures beside them).")
      .at_least(1);
  list.add("num_train_epochs", &o.num_train_epochs, "Passes over the pictures, unless --max_train_steps is given.")
      .at_least(1);
  list.add("max_train_steps", &o.max_train_steps, "Optimizer steps in all; overrides --num_train_epochs.").at_least(1);
  list.add("gradient_accumulation_steps", &o.gradient_accumulation_steps, "Batches whose gradients make up one step.")
      .at_least(1);
  list.add("seed", &o.seed, "Seed of every random draw; the same seed gives the same LoRA. Unset takes a new one.")
      .at_least(0)
      .at_most(kLargestSeed);
}

void add_optimizer(OptionList& list, TrainDreamboothOptions& o) {
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
  list.add("use_8bit_adam", &o.use_8bit_adam, "Keep AdamW's moments in 8 bits. Not available yet.");
  list.add("adam_beta1", &o.adam_beta1, "AdamW's decay of the mean of gradients.").at_least(0).below(1);
  list.add("adam_beta2", &o.adam_beta2, "AdamW's decay of the mean of squared gradients.").at_least(0).below(1);
  list.add("adam_weight_decay", &o.adam_weight_decay, "AdamW's decoupled weight decay.").at_least(0);
  list.add("adam_epsilon", &o.adam_epsilon, "AdamW's guard against a division by zero.").at_least(0);
  list.add("max_grad_norm", &o.max_grad_norm, "Gradients together longer than this are shortened to it.").above(0);
}

void add_machine(OptionList& list, TrainDreamboothOptions& o) {
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

void add_output(OptionList& list, TrainDreamboothOptions& o) {
  list.group("Output");
  list.add("output_dir", &o.output_dir, "Folder for the LoRA, the checkpoints and the logs.");
  list.add("logging_dir", &o.logging_dir, "Folder for the logs, inside --output_dir.");
  list.add("report_to", &o.report_to, "Where the loss goes besides the JSONL log, which is always written.")
      .choices({"tensorboard", "wandb", "comet_ml", "all", "jsonl"});
  list.add("checkpointing_steps", &o.checkpointing_steps, "Save a checkpoint to resume from every so many steps.")
      .at_least(1);
  list.add("checkpoints_total_limit", &o.checkpoints_total_limit,
           "How many checkpoints to keep; the oldest goes first. Unset keeps all.")
      .at_least(1);
  list.add("resume_from_checkpoint", &o.resume_from_checkpoint,
           "Go on from this checkpoint of --output_dir (checkpoint-500), or from the last one with latest.");
}

void add_validation(OptionList& list, TrainDreamboothOptions& o) {
  list.group("Validation");
  list.add("validation_prompt", &o.validation_prompt, "Draw pictures from this prompt while training.");
  list.add("num_validation_images", &o.num_validation_images, "How many pictures each time.").at_least(0);
  list.add("validation_epochs", &o.validation_epochs, "Draw them every so many epochs.").at_least(1);
}

void add_hub(OptionList& list, TrainDreamboothOptions& o) {
  list.group("Hugging Face Hub");
  list.add("push_to_hub", &o.push_to_hub, "Upload the LoRA when it is done. Not available yet.");
  list.add("hub_token", &o.hub_token, "Token for the upload; it is written nowhere.").secret();
  list.add("hub_model_id", &o.hub_model_id, "Repository to upload to; unset takes the name of --output_dir.");
}

void add_elsewhere(OptionList& list, TrainDreamboothOptions& o) {
  list.group("Known to the script, but for other models (DeepFloyd IF)");
  list.add("validation_images", &o.validation_images,
           "Start pictures for validation. Refused: Stable Diffusion takes none.");
  list.add("class_labels_conditioning", &o.class_labels_conditioning,
           "Class labels for the UNet. Refused: Stable Diffusion's takes none.");
}

void add_lorikeet(OptionList& list, TrainDreamboothOptions& o) {
  list.group("Lorikeet");
  list.add("config", &o.config, "Read options from this .toml or .json file; the command line goes before it.")
      .command_line_only();
  list.add("dry_run", &o.dry_run, "Check everything, print what would be done, and stop.").command_line_only();
  list.add("compat_bugs", &o.compat_bugs,
           "Do as the script does even where Lorikeet deliberately does otherwise (docs/differences.md).");
}

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

int64_t environment_number(const char* name, int64_t fallback) {
  const auto text = environment(name);
  if (!text) return fallback;
  int64_t value = fallback;
  try {
    Option("", name, &value, "").assign({*text});
  } catch (const UsageError&) {
    throw UsageError(str("the environment's ", name, ": a whole number expected, found '", *text, "'"),
                     str("`unset ", name, "`"));
  }
  return value;
}

/// Yes and no as accelerate reads them.
bool environment_flag(const char* name) {
  auto text = environment(name).value_or("no");
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text == "1" || text == "true" || text == "yes" || text == "y" || text == "t" || text == "on";
}

void refuse_what_comes_later(const TrainDreamboothOptions& o) {
  if (o.report_to == "wandb" && o.hub_token) {
    throw UsageError("--report_to=wandb cannot be used with --hub_token: the token would be stored in the run's record",
                     "log in with `hf auth login` instead of giving --hub_token");
  }
  if (o.push_to_hub) {
    throw UsageError("--push_to_hub is not available yet",
                     "leave it out, and upload the LoRA afterwards with `hf upload`");
  }
  if (o.report_to == "wandb" || o.report_to == "comet_ml") {
    throw UsageError(str("--report_to=", o.report_to, " is not available yet"), "use --report_to=tensorboard");
  }
  if (o.use_8bit_adam)
    throw UsageError("--use_8bit_adam is not available yet", "leave it out: a LoRA's moments are small");
}

void refuse_what_is_for_other_models(const TrainDreamboothOptions& o) {
  if (o.class_labels_conditioning) {
    throw UsageError(
        "--class_labels_conditioning is for DeepFloyd IF's upscaler; Stable Diffusion's UNet takes no class labels",
        "leave it out");
  }
  if (o.validation_images) {
    throw UsageError("--validation_images is for models that start from a picture, such as DeepFloyd IF's upscaler",
                     "leave it out; --validation_prompt alone draws validation pictures");
  }
}

void check_prior_preservation(const TrainDreamboothOptions& o) {
  if (!o.with_prior_preservation) return;
  if (!o.class_data_dir || o.class_data_dir->empty()) {
    throw UsageError("--with_prior_preservation needs --class_data_dir",
                     "give a folder; it is made and filled when it does not exist");
  }
  if (!o.class_prompt) {
    throw UsageError("--with_prior_preservation needs --class_prompt", "give the prompt without the new word");
  }
}

}  // namespace

OptionList fields(TrainDreamboothOptions& options) {
  OptionList list;
  add_model(list, options);
  add_data(list, options);
  add_prior(list, options);
  add_lora(list, options);
  add_length(list, options);
  add_optimizer(list, options);
  add_machine(list, options);
  add_output(list, options);
  add_validation(list, options);
  add_hub(list, options);
  add_elsewhere(list, options);
  add_lorikeet(list, options);
  return list;
}

void apply_environment(TrainDreamboothOptions& options) {
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

void validate(const TrainDreamboothOptions& options) {
  TrainDreamboothOptions copy = options;
  fields(copy).check();
  check_prior_preservation(options);
  if (options.train_text_encoder && options.pre_compute_text_embeddings) {
    throw UsageError("--train_text_encoder cannot be used with --pre_compute_text_embeddings",
                     "embeddings computed once are wrong as soon as the text encoder learns: leave one out");
  }
  if (options.output_dir.empty()) throw UsageError("--output_dir: a folder expected, found ''", "name a folder");
  refuse_what_is_for_other_models(options);
  refuse_what_comes_later(options);
  if (options.device == "cpu") validate_for_device(options, true);
}

void validate_for_device(const TrainDreamboothOptions& options, bool device_is_cpu) {
  if (!device_is_cpu) return;
  if (options.mixed_precision == "fp16") {
    throw UsageError("--mixed_precision=fp16 needs a GPU, and this run is on the CPU",
                     "use --mixed_precision=bf16 or --mixed_precision=no");
  }
  if (options.with_prior_preservation && options.prior_generation_precision == "fp16") {
    throw UsageError("--prior_generation_precision=fp16 needs a GPU, and this run is on the CPU",
                     "use --prior_generation_precision=bf16 or fp32");
  }
}

std::vector<std::string> warnings(const TrainDreamboothOptions& options) {
  std::vector<std::string> notes;
  if (!options.with_prior_preservation && options.class_data_dir) {
    notes.push_back("--class_data_dir has no effect without --with_prior_preservation");
  }
  if (!options.with_prior_preservation && options.class_prompt) {
    notes.push_back("--class_prompt has no effect without --with_prior_preservation");
  }
  if (options.hub_token) notes.push_back("--hub_token has no effect without --push_to_hub");
  if (options.hub_model_id) notes.push_back("--hub_model_id has no effect without --push_to_hub");
  if (options.enable_xformers_memory_efficient_attention) {
    notes.push_back("--enable_xformers_memory_efficient_attention: attention here is memory-efficient anyway");
  }
  if (!options.train_text_encoder &&
      options.text_encoder_target_modules != TrainDreamboothOptions{}.text_encoder_target_modules) {
    notes.push_back("--text_encoder_target_modules has no effect without --train_text_encoder");
  }
  if (options.lr_scheduler == "constant" && options.lr_warmup_steps > 0 &&
      options.lr_warmup_steps != TrainDreamboothOptions{}.lr_warmup_steps) {
    notes.push_back("--lr_warmup_steps has no effect with --lr_scheduler=constant; constant_with_warmup has one");
  }
  return notes;
}

}  // namespace lorikeet
