#include "training/validation_loss.h"

#include <algorithm>
#include <cmath>

#include "core/errors.h"
#include "core/text.h"
#include "engine/python_random.h"
#include "engine/random.h"

namespace lorikeet {

std::vector<int64_t> held_out_pictures(int64_t count, double share, uint64_t seed) {
  if (count < 2) {
    throw UsageError(lorikeet::str("--validation_split=", share, ": there is only ", count, " picture to split"),
                     "leave --validation_split out, or add pictures");
  }
  auto order = numpy_permutation(seed, count);
  const auto wanted = static_cast<int64_t>(std::llround(share * static_cast<double>(count)));
  order.resize(static_cast<size_t>(std::clamp<int64_t>(wanted, 1, count - 1)));
  std::sort(order.begin(), order.end());
  return order;
}

double ValidationLoss::measure(StepLoss& loss, const TrainingModels& models, const TrainOptions& options,
                               TrainingObserver& observer) const {
  const int64_t last = std::min(options.max_timestep, models.noise_scheduler->num_train_timesteps());
  const int64_t range = last - options.min_timestep, total = static_cast<int64_t>(pictures_.size()) * kTimesteps;
  double sum = 0;
  int64_t done = 0;
  for (size_t i = 0; i < pictures_.size(); ++i) {
    auto generator = make_generator(i);
    const auto like = loss.latents().moments({pictures_[i]}).mean;
    for (int64_t k = 0; k < kTimesteps; ++k) {
      // On the CPU, so that the noise is the same on every device.
      const auto noise = draw_normal(like.sizes(), generator, torch::TensorOptions(torch::kFloat));
      sum += loss.at(pictures_[i], noise, options.min_timestep + (2 * k + 1) * range / (2 * kTimesteps));
      observer.on_work("Validation loss", ++done, total);
    }
  }
  return sum / static_cast<double>(total);
}

}  // namespace lorikeet
