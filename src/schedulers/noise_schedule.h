// The noise a diffusion model was trained with: beta at each training timestep, and what follows from it.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lorikeet {

/// The `beta_*` keys of a scheduler_config.json.
struct BetaOptions {
  int64_t num_train_timesteps = 1000;
  double beta_start = 0.0001;
  double beta_end = 0.02;
  /// linear, scaled_linear, squaredcos_cap_v2, laplace or sigmoid
  std::string beta_schedule = "linear";
  std::optional<std::vector<double>> trained_betas;
  bool rescale_betas_zero_snr = false;
};

/// float32 [T] tensors on the CPU, made by the same float32 operations as in Diffusers.
struct NoiseSchedule {
  NoiseSchedule() = default;
  explicit NoiseSchedule(const BetaOptions& options);

  torch::Tensor betas, alphas_cumprod;

  /// sqrt(a) x0 + sqrt(1 - a) noise with a = alphas_cumprod[timesteps] rounded to x0's dtype first.
  /// x0, noise: [B, ...]; timesteps: integers [B] or [1], each in [0, T). Throws Error for one outside.
  torch::Tensor add_noise(const torch::Tensor& x0, const torch::Tensor& noise, const torch::Tensor& timesteps) const;
  /// sqrt(a) noise - sqrt(1 - a) x0, the target of v_prediction; shapes and dtypes as in add_noise.
  torch::Tensor get_velocity(const torch::Tensor& x0, const torch::Tensor& noise, const torch::Tensor& timesteps) const;
};

/// Betas shifted and scaled so that the last timestep is pure noise (Lin et al., arXiv:2305.08891, algorithm 1).
torch::Tensor rescale_zero_terminal_snr(const torch::Tensor& betas);

}  // namespace lorikeet
