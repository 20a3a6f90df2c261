// The options of `lorikeet train text-to-image`: the 51 of Diffusers' train_text_to_image_lora.py under their own names
// and with their own defaults, and ours.
#pragma once

#include "training/train_options.h"

namespace lorikeet {

/// Each member is the flag of the same name; `fields` holds what it means and which values it may take.
struct TrainTextToImageOptions : TrainOptions {
  TrainTextToImageOptions() {
    train_batch_size = 16;
    num_train_epochs = 100;
    output_dir = "sd-model-finetuned-lora";
  }

  // Data set
  std::optional<std::string> dataset_name;
  std::optional<std::string> dataset_config_name;
  std::optional<std::string> train_data_dir;
  std::string image_column = "image";
  std::string caption_column = "text";
  std::optional<int64_t> max_train_samples;
  bool random_flip = false;

  // Captions
  std::optional<std::string> default_caption;
  std::optional<std::string> caption_prefix;
  double caption_dropout_rate = 0;
  bool shuffle_caption = false;
  int64_t keep_tokens = 0;
  std::string caption_separator = ",";

  // Buckets
  bool bucket = false;
  int64_t bucket_reso_steps = 64;
  int64_t min_bucket_reso = 256;
  int64_t max_bucket_reso = 1024;
  bool bucket_no_upscale = false;
};

OptionList fields(TrainTextToImageOptions& options);

/// Checks every option by itself and with the others, without looking at files or devices. Throws UsageError.
void validate(const TrainTextToImageOptions& options);

/// What is allowed, but has no effect or not the one it may seem to have; one sentence each.
std::vector<std::string> warnings(const TrainTextToImageOptions& options);

}  // namespace lorikeet
