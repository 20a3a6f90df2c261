// How much memory a run will need, before it runs.
#pragma once

#include "training/dreambooth_models.h"

namespace lorikeet {

/// Bytes: weights, what training adds per parameter, and a rough figure for the tensors that backward needs. No batch
/// is larger than `examples`.
int64_t estimate_training_memory(const DreamboothModels& models, const TrainDreamboothOptions& options,
                                 const TrainingPrecision& precision, int64_t examples);

}  // namespace lorikeet
