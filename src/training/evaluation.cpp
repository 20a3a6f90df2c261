#include "training/evaluation.h"

namespace lorikeet {

UsableWeights::UsableWeights(const std::vector<TrainedParameter>& parameters, Optimizer& optimizer,
                             const LoraAverage* average)
    : parameters_(parameters), optimizer_(optimizer) {
  torch::NoGradGuard no_grad;
  if (average == nullptr) {
    optimizer_.set_training(false);
    return;
  }
  for (size_t i = 0; i < parameters_.size(); ++i) {
    saved_.push_back(parameters_[i].value.detach().clone());
    parameters_[i].value.detach().copy_(average->values()[i]);
  }
}

UsableWeights::~UsableWeights() {
  torch::NoGradGuard no_grad;
  if (saved_.empty()) {
    optimizer_.set_training(true);
    return;
  }
  for (size_t i = 0; i < saved_.size(); ++i) parameters_[i].value.detach().copy_(saved_[i]);
}

}  // namespace lorikeet
