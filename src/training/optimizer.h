// What every optimizer does. Sources and deviations of each are told in its optimizer_*.cpp.
#pragma once

#include <torch/types.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "training/optimizer_options.h"

namespace lorikeet {

/// A tensor that learns.
struct TrainedParameter {
  std::string name;        // unique, as in a checkpoint
  torch::Tensor value;     // float32, bfloat16 with AdamW only
  double rate_factor = 1;  // of the learning rate; LoRA+ gives the up matrices a larger one
};

class Optimizer {
 public:
  Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;
  virtual ~Optimizer() = default;

  /// One step with the parameters' .grad, which it leaves as it is; parameters without one are left alone.
  /// Throws NumericError when a rate is more than a float can hold.
  virtual void step(double learning_rate) = 0;
  /// Drops the gradients.
  virtual void zero_grad() = 0;

  /// Schedule-free keeps two points: gradients are taken at one (training, the state at the start), the other is the
  /// one to use, validate and export. Switching there and back changes no bit; between, the values must not be
  /// changed, nor step, state or restore be called (std::logic_error). Other optimizers have one point.
  virtual void set_training(bool) {}

  /// The rate that a step really takes, for the log: Prodigy's estimate times the learning rate.
  virtual double effective_rate(double learning_rate) const { return learning_rate; }

  /// Everything a checkpoint keeps beside the parameters' values at the training point. With both restored, a run goes
  /// on bit for bit. Tensors (float32 or uint8, or the parameter's bfloat16) are named "first.<parameter>"; the numbers
  /// are finite doubles.
  struct State {
    std::vector<std::pair<std::string, torch::Tensor>> tensors;  // share the optimizer's memory
    std::map<std::string, double> numbers;
  };
  virtual State state() const = 0;
  /// Copies values. Throws FormatError, and changes nothing, when names, shapes or dtypes are not those of the
  /// parameters and this optimizer, or a number cannot be one.
  virtual void restore(const State& state) = 0;
};

/// Throws UsageError as with_defaults does, and for a parameter that is not float32 with any optimizer but AdamW.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, std::vector<TrainedParameter> parameters);

}  // namespace lorikeet
