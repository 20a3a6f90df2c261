#include "schedulers/scheduler.h"

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {

void Scheduler::check_step_count(int64_t n) const {
  if (n < 1 || n > num_train_timesteps())
    throw UsageError(str("num_inference_steps is ", n, ", but ", class_name_, " takes 1 to ", num_train_timesteps(),
                         ", the number of timesteps the model was trained with"),
                     "Usual values are 20 to 50.");
}

void Scheduler::check_ready() const {
  if (num_inference_steps_ == 0) throw UsageError(str(class_name_, " was asked for a step before set_timesteps"));
}

torch::Tensor Scheduler::alpha_at(int64_t t) const {
  if (t < -1 || t >= num_train_timesteps())
    throw UsageError(
        str("timestep ", t, " is outside ", class_name_, "'s schedule of 0 to ", num_train_timesteps() - 1));
  return noise_schedule_.alphas_cumprod[t];
}

void Scheduler::check_timesteps_in_schedule() const {
  const auto highest = timesteps_.max().item<int64_t>();
  if (highest >= num_train_timesteps())
    throw UsageError(str(num_inference_steps_, " steps of ", class_name_, " begin at timestep ", highest,
                         ", but the model was trained with 0 to ", num_train_timesteps() - 1),
                     "Take fewer steps, or a config with a smaller steps_offset.");
}

torch::Tensor randn_like(const torch::Tensor& like, torch::Generator& generator, torch::ScalarType dtype) {
  const auto options = torch::TensorOptions().dtype(dtype).device(generator.device());
  return torch::randn(like.sizes(), generator, options).to(like.device());
}

}  // namespace lorikeet
