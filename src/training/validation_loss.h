// The loss on pictures that are held out: the same noise and timesteps every time, so that two values can be compared.
#pragma once

#include <cstdint>
#include <vector>

#include "training/observer.h"
#include "training/step_loss.h"

namespace lorikeet {

/// Which of `count` pictures are held out: round(share * count) of them, at least one and at least one left, by `seed`;
/// in rising order. Throws UsageError when there is none to spare.
std::vector<int64_t> held_out_pictures(int64_t count, double share, uint64_t seed);

class ValidationLoss {
 public:
  /// `pictures` are the held-out ones, each with its middle cut and its caption.
  explicit ValidationLoss(std::vector<PictureRef> pictures) : pictures_(std::move(pictures)) {}

  /// The mean over all pictures and kTimesteps timesteps spread over the schedule of --min_timestep to --max_timestep.
  /// Noise comes from generators of their own.
  double measure(StepLoss& loss, const TrainingModels& models, const TrainOptions& options,
                 TrainingObserver& observer) const;

  static constexpr int64_t kTimesteps = 4;
  const std::vector<PictureRef>& pictures() const { return pictures_; }

 private:
  std::vector<PictureRef> pictures_;
};

}  // namespace lorikeet
