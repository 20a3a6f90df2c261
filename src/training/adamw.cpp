#include "training/adamw.h"

#include <cmath>
#include <limits>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {

AdamW::AdamW(std::vector<torch::Tensor> parameters, AdamWOptions options)
    : parameters_(std::move(parameters)), options_(options) {
  for (const auto& parameter : parameters_) {
    state_.first.push_back(torch::zeros_like(parameter));
    state_.second.push_back(torch::zeros_like(parameter));
  }
}

void AdamW::step(double learning_rate) {
  torch::NoGradGuard no_grad;
  ++state_.steps;
  const auto steps = static_cast<double>(state_.steps);
  const double correction1 = 1 - std::pow(options_.beta1, steps);
  if (std::abs(learning_rate / correction1) > std::numeric_limits<float>::max()) {
    throw NumericError(lorikeet::str("the learning rate ", learning_rate, " is more than a float can hold"),
                       "try a lower --learning_rate");
  }
  const double correction2 = std::sqrt(1 - std::pow(options_.beta2, steps));
  for (size_t i = 0; i < parameters_.size(); ++i) {
    auto& parameter = parameters_[i];
    const auto& gradient = parameter.grad();
    if (!gradient.defined()) continue;
    parameter.mul_(1 - learning_rate * options_.weight_decay);
    state_.first[i].lerp_(gradient, 1 - options_.beta1);
    state_.second[i].mul_(options_.beta2).addcmul_(gradient, gradient, 1 - options_.beta2);
    const auto denominator = (state_.second[i].sqrt() / correction2).add_(options_.epsilon);
    parameter.addcdiv_(state_.first[i], denominator, -(learning_rate / correction1));
  }
}

void AdamW::zero_grad() {
  for (auto& parameter : parameters_) parameter.mutable_grad().reset();
}

void AdamW::restore(const State& state) {
  torch::NoGradGuard no_grad;
  if (state.first.size() != parameters_.size() || state.second.size() != parameters_.size()) {
    throw FormatError(lorikeet::str("the checkpoint's optimizer has ", state.first.size(),
                                    " parameters, this run trains ", parameters_.size()),
                      "resume with the options the run was started with");
  }
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (state.first[i].sizes() != parameters_[i].sizes() || state.second[i].sizes() != parameters_[i].sizes()) {
      throw FormatError(lorikeet::str("the checkpoint's optimizer has a moment of shape ", state.first[i].sizes(),
                                      " where this run trains ", parameters_[i].sizes()),
                        "resume with the --rank and target modules the run was started with");
    }
    state_.first[i].copy_(state.first[i]);
    state_.second[i].copy_(state.second[i]);
  }
  state_.steps = state.steps;
}

}  // namespace lorikeet
