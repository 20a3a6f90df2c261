// What the optimizers share: their parameters, and a checkpoint's view of what they remember. Only optimizer_*.cpp
// include this.
#pragma once

#include <optional>

#include "training/optimizer.h"

namespace lorikeet {

class OptimizerBase : public Optimizer {
 public:
  void zero_grad() override;
  State state() const override;
  void restore(const State& state) override;

 protected:
  explicit OptimizerBase(std::vector<TrainedParameter> parameters) : parameters_(std::move(parameters)) {}

  const std::vector<TrainedParameter>& parameters() const { return parameters_; }
  /// A tensor that belongs to the state from now on; it must be changed in place only.
  torch::Tensor remember(const std::string& kind, const TrainedParameter& parameter, torch::Tensor tensor);
  /// One remembered tensor of zeros per parameter, of its shape and dtype.
  std::vector<torch::Tensor> remember_zeros(const std::string& kind);
  /// A remembered number. "steps" is a whole one.
  double& remember_number(const std::string& name, double initial) { return numbers_[name] = initial; }
  /// Whether the values are at the point where gradients are taken.
  virtual bool at_training_point() const { return true; }

 private:
  std::vector<TrainedParameter> parameters_;
  std::vector<std::pair<std::string, torch::Tensor>> tensors_;
  std::map<std::string, double> numbers_;
};

/// `factor` as torch's float kernels take it. Throws NumericError, naming the learning rate, when it is not one.
double checked(double factor, double learning_rate);

using Parameters = std::vector<TrainedParameter>;
std::unique_ptr<Optimizer> make_adamw(const OptimizerOptions& options, Parameters parameters);
std::unique_ptr<Optimizer> make_adamw8bit(const OptimizerOptions& options, Parameters parameters);
std::unique_ptr<Optimizer> make_adafactor(const OptimizerOptions& options, Parameters parameters);
std::unique_ptr<Optimizer> make_lion(const OptimizerOptions& options, Parameters parameters);
std::unique_ptr<Optimizer> make_prodigy(const OptimizerOptions& options, Parameters parameters);
std::unique_ptr<Optimizer> make_schedule_free(const OptimizerOptions& options, Parameters parameters);

}  // namespace lorikeet
