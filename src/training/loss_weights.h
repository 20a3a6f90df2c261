// How much each timestep's, and each error's, share of the loss weighs.
#pragma once

#include <torch/types.h>

#include <string>

#include "training/train_options.h"

namespace lorikeet {

/// Signal-to-noise ratio alpha^2 / sigma^2 at each timestep [B], float32, from the schedule's alphas_cumprod [T] by the
/// operations of Diffusers' compute_snr.
torch::Tensor compute_snr(const torch::Tensor& alphas_cumprod, const torch::Tensor& timesteps);

/// The weight of each row [B], float32: min-SNR or debiased estimation; undefined when all weigh alike. A row whose SNR
/// is 0 (a schedule that ends in pure noise) would divide by zero with epsilon prediction: it gets min-SNR's limit, 1,
/// unless --compat_bugs; debiased estimation, which has no limit there, leaves it out (0). Sources: arXiv 2303.09556,
/// section 3.4; arXiv 2310.08442.
torch::Tensor timestep_weights(const TrainOptions& options, const torch::Tensor& alphas_cumprod,
                               const torch::Tensor& timesteps, bool velocity);

/// The pseudo-Huber losses' threshold at each timestep [B], float32. Source: arXiv 2403.16728.
torch::Tensor huber_thresholds(const TrainOptions& options, const torch::Tensor& alphas_cumprod,
                               const torch::Tensor& timesteps);

/// How far each value of `prediction` is from `target` [B, ...], float32, by --loss_type; `thresholds` as above.
torch::Tensor elementwise_loss(const TrainOptions& options, const torch::Tensor& prediction,
                               const torch::Tensor& target, const torch::Tensor& thresholds);

}  // namespace lorikeet
