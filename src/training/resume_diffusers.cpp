#include "training/resume_diffusers.h"

#include <map>

#include "core/errors.h"
#include "core/text.h"
#include "engine/random.h"
#include "lora/lora_file.h"
#include "training/diffusers_checkpoint.h"

namespace lorikeet {
namespace {

constexpr const char* kSameOptions = "resume with the options the run was started with";

void check_options(const TrainOptions& options) {
  const char* other = options.algo != "lora"                                                           ? "--algo"
                      : options.optimizer_name() != "adamw"                                            ? "--optimizer"
                      : options.use_ema                                                                ? "--use_ema"
                      : options.use_rslora                                                             ? "--use_rslora"
                      : options.lora_alpha && *options.lora_alpha != static_cast<double>(options.rank) ? "--lora_alpha"
                                                                                                       : nullptr;
  if (other == nullptr) return;
  throw UsageError(
      lorikeet::str("a checkpoint of Diffusers' scripts cannot be gone on from with ", other, ": they have none"),
      "leave it out, or start a new run");
}

/// The checkpoint's factors under the names of this run's parameters.
std::map<std::string, torch::Tensor> named_factors(const std::filesystem::path& file) {
  std::map<std::string, torch::Tensor> factors;
  const auto lora = read_lora_file(file);
  const auto add = [&](const std::string& component, const std::vector<LayerChange>& changes) {
    for (const auto& change : changes) {
      for (const auto& [role, factor] : change.factors) factors[component + change.path + "." + role] = factor;
    }
  };
  add("unet.", lora.unet);
  add("text_encoder.", lora.text_encoder);
  return factors;
}

torch::Tensor factor_like(const std::map<std::string, torch::Tensor>& factors, const TrainedParameter& parameter) {
  const auto found = factors.find(parameter.name);
  if (found == factors.end()) {
    throw FormatError(lorikeet::str("the checkpoint's LoRA has no ", parameter.name), kSameOptions);
  }
  // Linear factors may stand for 1x1 convolutions.
  if (found->second.numel() != parameter.value.numel() || found->second.size(0) != parameter.value.size(0)) {
    throw FormatError(lorikeet::str("the checkpoint's ", parameter.name, " is ", found->second.sizes(), ", this run's ",
                                    parameter.value.sizes()),
                      kSameOptions);
  }
  return found->second.view(parameter.value.sizes());
}

/// Parameters are numbered as the script hands them to its optimizer: in the order in which they are registered.
Optimizer::State adamw_state(const RunParts& run, const DiffusersCheckpoint& checkpoint) {
  Optimizer::State state;
  double steps = 0;
  if (checkpoint.moments.size() != run.parameters.size()) {
    throw FormatError(lorikeet::str("the checkpoint's optimizer has ", checkpoint.moments.size(),
                                    " parameters, this run trains ", run.parameters.size()),
                      kSameOptions);
  }
  for (size_t i = 0; i < run.parameters.size(); ++i) {
    const auto& parameter = run.parameters[i];
    const auto moments = checkpoint.moments.find(static_cast<int64_t>(i));
    for (const auto& [ours, theirs] : {std::pair{"first.", "exp_avg"}, {"second.", "exp_avg_sq"}}) {
      const bool known = moments != checkpoint.moments.end() && moments->second.tensors.contains(theirs);
      if (!known || moments->second.tensors.at(theirs).sizes() != parameter.value.sizes()) {
        throw FormatError(lorikeet::str("the checkpoint's optimizer.bin has no ", theirs, " of shape ",
                                        parameter.value.sizes(), " for parameter ", i),
                          "only AdamW's moments can be taken over");
      }
      state.tensors.emplace_back(ours + parameter.name,
                                 moments->second.tensors.at(theirs).to(parameter.value.scalar_type()));
    }
    steps = moments->second.step;
  }
  state.numbers["steps"] = steps;
  return state;
}

}  // namespace

void restore_diffusers_run(const RunParts& run, const TrainOptions& options, const std::filesystem::path& folder) {
  check_options(options);
  const auto checkpoint = read_diffusers_checkpoint(folder);
  const auto factors = named_factors(checkpoint.lora);
  if (factors.size() != run.parameters.size()) {
    throw FormatError(lorikeet::str("the checkpoint's LoRA has ", factors.size(), " factors, this run trains ",
                                    run.parameters.size()),
                      kSameOptions);
  }
  std::vector<torch::Tensor> values;
  for (const auto& parameter : run.parameters) values.push_back(factor_like(factors, parameter));
  auto python_random = run.python_random;
  python_random.set_state(checkpoint.python_state);
  if (run.scaler != nullptr && !checkpoint.scaler) {
    throw FormatError("the checkpoint has no scaler.pt, which a run in fp16 goes on from", kSameOptions);
  }
  run.optimizer.restore(adamw_state(run, checkpoint));
  try {
    set_generator_state(run.generators.cpu, checkpoint.torch_state);
    if (!run.generators.device.device().is_cpu() && !checkpoint.cuda_states.empty()) {
      set_generator_state(run.generators.device, checkpoint.cuda_states.front());
    }
  } catch (const c10::Error& error) {
    throw FormatError(lorikeet::str("the checkpoint does not fit this machine: ", error.what_without_backtrace()),
                      "resume on the kind of device it was made on");
  }
  if (run.scaler != nullptr) run.scaler->restore(checkpoint.scaler->scale, checkpoint.scaler->growth_tracker);
  torch::NoGradGuard no_grad;
  for (size_t i = 0; i < values.size(); ++i) run.parameters[i].value.detach().copy_(values[i]);
  run.python_random = python_random;
  run.position.step = checkpoint.step;
  run.position.lr_steps = checkpoint.last_epoch;
}

}  // namespace lorikeet
