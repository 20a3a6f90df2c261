// What the shared options mean and which values they may take, group by group.
#pragma once

#include "training/train_options.h"

namespace lorikeet {

/// The groups of options that both recipes show, in the order in which they are shown; a recipe puts its own between.
void add_model_options(OptionList& list, TrainOptions& options);
void add_picture_options(OptionList& list, TrainOptions& options);
void add_encode_options(OptionList& list, TrainOptions& options);
void add_lora_options(OptionList& list, TrainOptions& options);
void add_loss_options(OptionList& list, TrainOptions& options);
void add_length_options(OptionList& list, TrainOptions& options);
void add_optimizer_options(OptionList& list, TrainOptions& options);
void add_machine_options(OptionList& list, TrainOptions& options);
void add_output_options(OptionList& list, TrainOptions& options);
void add_validation_options(OptionList& list, TrainOptions& options);
void add_hub_options(OptionList& list, TrainOptions& options);
void add_lorikeet_options(OptionList& list, TrainOptions& options);

}  // namespace lorikeet
