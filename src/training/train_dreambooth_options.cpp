#include "training/train_dreambooth_options.h"

#include "core/errors.h"
#include "training/train_option_checks.h"
#include "training/train_option_groups.h"

namespace lorikeet {
namespace {

void add_data(OptionList& list, TrainDreamboothOptions& o) {
  list.add("tokenizer_name", &o.tokenizer_name, "Tokenizer folder or id, when it is not the base model's own.");
  list.group("Pictures and prompts");
  list.add("instance_data_dir", &o.instance_data_dir, "Folder with the pictures of what is to be learnt.").required();
  list.add("instance_prompt", &o.instance_prompt,
           "The prompt for these pictures, with the new word in it: \"a photo of sks dog\".")
      .required();
  add_picture_options(list, o);
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

void add_elsewhere(OptionList& list, TrainDreamboothOptions& o) {
  list.group("Known to the script, but for other models (DeepFloyd IF)");
  list.add("validation_images", &o.validation_images,
           "Start pictures for validation. Refused: Stable Diffusion takes none.");
  list.add("class_labels_conditioning", &o.class_labels_conditioning,
           "Class labels for the UNet. Refused: Stable Diffusion's takes none.");
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
  add_model_options(list, options);
  add_data(list, options);
  add_prior(list, options);
  add_encode_options(list, options);
  add_lora_options(list, options);
  add_loss_options(list, options);
  add_length_options(list, options);
  add_optimizer_options(list, options);
  add_machine_options(list, options);
  add_output_options(list, options);
  add_validation_options(list, options);
  add_hub_options(list, options);
  add_elsewhere(list, options);
  add_lorikeet_options(list, options);
  return list;
}

void validate(const TrainDreamboothOptions& options) {
  TrainDreamboothOptions copy = options;
  fields(copy).check();
  check_text("instance_prompt", options.instance_prompt);
  check_text("class_prompt", options.class_prompt);
  check_prior_preservation(options);
  if (options.train_text_encoder && options.pre_compute_text_embeddings) {
    throw UsageError("--train_text_encoder cannot be used with --pre_compute_text_embeddings",
                     "embeddings computed once are wrong as soon as the text encoder learns: leave one out");
  }
  refuse_what_is_for_other_models(options);
  validate_shared(options);
  if (options.device == "cpu") validate_for_device(options, true);
}

void validate_for_device(const TrainDreamboothOptions& options, bool device_is_cpu) {
  validate_for_device(static_cast<const TrainOptions&>(options), device_is_cpu);
  if (device_is_cpu && options.with_prior_preservation && options.prior_generation_precision == "fp16") {
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
  if (options.pre_compute_text_embeddings && options.encode_memory == "off") {
    notes.push_back("--pre_compute_text_embeddings has no effect with --encode_memory=off");
  }
  const auto shared = shared_warnings(options);
  notes.insert(notes.end(), shared.begin(), shared.end());
  return notes;
}

}  // namespace lorikeet
