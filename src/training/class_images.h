// Pictures of the class, drawn by the base model itself, for prior preservation.
#pragma once

#include <filesystem>
#include <vector>

#include "training/observer.h"
#include "training/train_dreambooth_options.h"
#include "training/training_models.h"

namespace lorikeet {

/// Entries of the class folder, of any kind but what a killed run has left half-written; 0 when there is no such
/// folder.
int64_t count_class_entries(const std::filesystem::path& folder);

/// Draws class_prompt until class_data_dir holds num_class_images entries, and saves the pictures as
/// N-<SHA-1 of the pixels>.jpg, as Diffusers' script does, with its draws from `generators`.
/// Calls observer.on_work after each batch. Throws Interrupted when the observer asks to stop; pictures already drawn
/// stay.
void generate_class_images(const ModelSource& model, const TrainDreamboothOptions& options,
                           const TrainingPrecision& precision, TrainingGenerators& generators,
                           TrainingObserver& observer);

}  // namespace lorikeet
