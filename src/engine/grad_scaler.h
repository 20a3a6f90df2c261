// Loss scaling for fp16 training: small gradients are kept from vanishing, overflowing steps are skipped.
#pragma once

#include <torch/types.h>

#include <vector>

namespace lorikeet {

/// torch.amp.GradScaler: the loss is multiplied by `scale`, gradients are divided by it again before the step; a step
/// with a non-finite gradient is skipped and halves the scale, `growth_interval` good steps in a row double it.
class GradScaler {
 public:
  explicit GradScaler(torch::Device device, double initial_scale = 65536.0, int64_t growth_interval = 2000);

  torch::Tensor scale_loss(const torch::Tensor& loss) const;
  /// Divides the gradients in place (float32). Returns false when any is not finite.
  bool unscale(const std::vector<torch::Tensor>& gradients);
  /// After the step was taken or skipped: adapts the scale to what unscale found.
  void update();

  double scale() const;
  int64_t growth_tracker() const;
  void restore(double scale, int64_t growth_tracker);

 private:
  torch::Tensor scale_, growth_tracker_, found_inf_;
  int64_t growth_interval_;
};

}  // namespace lorikeet
