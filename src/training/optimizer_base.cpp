#include "training/optimizer_base.h"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

constexpr double kLargestCount = 9007199254740992;  // 2^53: every whole number up to it is a double
constexpr const char* kOtherOptions = "resume with the options the run was started with";

void check_number(const std::string& name, double value) {
  const bool whole = value >= 0 && value <= kLargestCount && value == std::floor(value);
  if (std::isfinite(value) && (name != "steps" || whole)) return;
  throw FormatError(lorikeet::str("the checkpoint's optimizer has ", name, " = ", value, ", expected ",
                                  name == "steps" ? "a whole number of at least 0" : "a finite number"),
                    "resume from another checkpoint");
}

void check_like(const std::string& name, const torch::Tensor& saved, const torch::Tensor& ours) {
  if (saved.sizes() == ours.sizes() && saved.scalar_type() == ours.scalar_type()) return;
  throw FormatError(lorikeet::str("the checkpoint's optimizer has ", name, " as ", saved.scalar_type(), " ",
                                  saved.sizes(), ", this run's is ", ours.scalar_type(), " ", ours.sizes()),
                    "resume with the --rank, target modules and optimizer the run was started with");
}

template <class Saved, class Ours>
void check_names(const Saved& saved, const Ours& ours, const char* what) {
  for (const auto& [name, value] : ours) {
    if (saved.contains(name)) continue;
    throw FormatError(lorikeet::str("the checkpoint's optimizer has no ", what, " ", name), kOtherOptions);
  }
  for (const auto& [name, value] : saved) {
    if (ours.contains(name)) continue;
    throw FormatError(lorikeet::str("the checkpoint's optimizer has a ", what, " ", name, ", this run's has none"),
                      kOtherOptions);
  }
}

}  // namespace

double checked(double factor, double learning_rate) {
  if (std::abs(factor) <= std::numeric_limits<float>::max()) return factor;
  throw NumericError(lorikeet::str("the learning rate ", learning_rate, " is more than a float can hold"),
                     "try a lower --learning_rate");
}

void OptimizerBase::zero_grad() {
  for (const auto& parameter : parameters_) parameter.value.mutable_grad().reset();
}

torch::Tensor OptimizerBase::remember(const std::string& kind, const TrainedParameter& parameter,
                                      torch::Tensor tensor) {
  tensors_.emplace_back(kind + "." + parameter.name, tensor);
  return tensor;
}

std::vector<torch::Tensor> OptimizerBase::remember_zeros(const std::string& kind) {
  std::vector<torch::Tensor> zeros;
  for (const auto& parameter : parameters_) {
    zeros.push_back(remember(kind, parameter, torch::zeros_like(parameter.value)));
  }
  return zeros;
}

Optimizer::State OptimizerBase::state() const {
  if (!at_training_point()) throw std::logic_error("an optimizer's state is taken in training");
  return {tensors_, numbers_};
}

void OptimizerBase::restore(const State& state) {
  if (!at_training_point()) throw std::logic_error("an optimizer's state is restored in training");
  const std::map<std::string, torch::Tensor> saved(state.tensors.begin(), state.tensors.end());
  const std::map<std::string, torch::Tensor> ours(tensors_.begin(), tensors_.end());
  check_names(saved, ours, "tensor");
  check_names(state.numbers, numbers_, "number");
  for (const auto& [name, tensor] : ours) check_like(name, saved.at(name), tensor);
  for (const auto& [name, value] : state.numbers) check_number(name, value);
  torch::NoGradGuard no_grad;
  for (const auto& [name, tensor] : ours) tensor.copy_(saved.at(name));
  for (const auto& [name, value] : state.numbers) numbers_.at(name) = value;
}

}  // namespace lorikeet
