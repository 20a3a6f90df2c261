#include "training/lora_average.h"

#include <algorithm>

namespace lorikeet {

LoraAverage::LoraAverage(const std::vector<TrainedParameter>& parameters, double decay)
    : parameters_(parameters), decay_(decay) {
  for (const auto& parameter : parameters_) values_.push_back(parameter.value.detach().clone());
}

void LoraAverage::update() {
  torch::NoGradGuard no_grad;
  const auto before = static_cast<double>(steps_++);
  const double decay = before == 0 ? 0 : std::min(decay_, (1 + before) / (10 + before));
  for (size_t i = 0; i < values_.size(); ++i) {
    values_[i].sub_((1 - decay) * (values_[i] - parameters_[i].value));
  }
}

void LoraAverage::restore(int64_t steps, const std::vector<torch::Tensor>& values) {
  torch::NoGradGuard no_grad;
  for (size_t i = 0; i < values_.size(); ++i) values_[i].copy_(values.at(i));
  steps_ = steps;
}

}  // namespace lorikeet
