// How much memory a run will need, before it runs.
#pragma once

#include "training/training_models.h"

namespace lorikeet {

/// Bytes: weights, what training adds per parameter, and a rough figure for the tensors that backward needs. No batch
/// is larger than `examples`; with prior preservation a batch has a class picture beside each instance.
int64_t estimate_training_memory(const TrainingModels& models, const TrainOptions& options,
                                 const TrainingPrecision& precision, int64_t examples, bool with_prior);

}  // namespace lorikeet
