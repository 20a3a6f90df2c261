#include "engine/grad_scaler.h"

namespace lorikeet {

GradScaler::GradScaler(torch::Device device, double initial_scale, int64_t growth_interval)
    : scale_(torch::full({}, initial_scale, torch::TensorOptions(device).dtype(torch::kFloat))),
      growth_tracker_(torch::zeros({}, torch::TensorOptions(device).dtype(torch::kInt))),
      found_inf_(torch::zeros({}, torch::TensorOptions(device).dtype(torch::kFloat))),
      growth_interval_(growth_interval) {}

torch::Tensor GradScaler::scale_loss(const torch::Tensor& loss) const { return loss * scale_; }

bool GradScaler::unscale(const std::vector<torch::Tensor>& gradients) {
  torch::NoGradGuard no_grad;
  found_inf_.zero_();
  // As Python's: the reciprocal is taken in double, then rounded.
  const auto inverse = scale_.to(torch::kDouble).reciprocal().to(torch::kFloat);
  at::_amp_foreach_non_finite_check_and_unscale_(gradients, found_inf_, inverse);
  return found_inf_.item<float>() == 0.0f;
}

void GradScaler::update() {
  at::_amp_update_scale_(scale_, growth_tracker_, found_inf_, /*scale_growth_factor=*/2.0,
                         /*scale_backoff_factor=*/0.5, growth_interval_);
}

double GradScaler::scale() const { return scale_.item<float>(); }
int64_t GradScaler::growth_tracker() const { return growth_tracker_.item<int>(); }

void GradScaler::restore(double scale, int64_t growth_tracker) {
  scale_.fill_(scale);
  growth_tracker_.fill_(growth_tracker);
}

}  // namespace lorikeet
