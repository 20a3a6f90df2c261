#include "training/run_state.h"

#include <cfloat>
#include <cmath>
#include <map>

#include "core/errors.h"
#include "core/text.h"
#include "engine/random.h"
#include "training/run_state_json.h"

namespace lorikeet {
namespace {

constexpr int64_t kFormatVersion = 2;
constexpr const char* kOtherCheckpoint = "resume from another checkpoint";
constexpr const char* kSameOptions = "resume with the options the run was started with";

class TensorsByName {
 public:
  explicit TensorsByName(const NamedTensors& tensors) : tensors_(tensors.begin(), tensors.end()) {}
  const torch::Tensor& at(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) {
      throw FormatError(lorikeet::str("the checkpoint has no tensor ", name), kSameOptions);
    }
    return found->second;
  }
  /// Those whose name begins with `prefix`, without it.
  std::vector<std::pair<std::string, torch::Tensor>> below(const std::string& prefix) const {
    std::vector<std::pair<std::string, torch::Tensor>> found;
    for (auto it = tensors_.lower_bound(prefix); it != tensors_.end() && it->first.starts_with(prefix); ++it) {
      found.emplace_back(it->first.substr(prefix.size()), it->second);
    }
    return found;
  }

 private:
  std::map<std::string, torch::Tensor> tensors_;
};

void check_like(const torch::Tensor& saved, const torch::Tensor& wanted, const std::string& name) {
  if (saved.sizes() == wanted.sizes() && saved.scalar_type() == wanted.scalar_type()) return;
  throw FormatError(lorikeet::str("the checkpoint's ", name, " is ", saved.scalar_type(), " ", saved.sizes(),
                                  ", this run's ", wanted.scalar_type(), " ", wanted.sizes()),
                    kSameOptions);
}

/// The tensors PREFIX.NAME of all parameters, each like its parameter.
std::vector<torch::Tensor> like_parameters(const RunParts& run, const TensorsByName& tensors,
                                           const std::string& prefix) {
  std::vector<torch::Tensor> values;
  for (const auto& parameter : run.parameters) {
    const auto name = prefix + parameter.name;
    values.push_back(tensors.at(name));
    check_like(values.back(), parameter.value, name);
  }
  return values;
}

double number_at(const nlohmann::json& json, const char* name) {
  const auto& value = json.at(name);
  if (value.is_number() && std::isfinite(value.get<double>())) return value.get<double>();
  throw FormatError(lorikeet::str("the checkpoint's state.json: ", name, " is no finite number"), kOtherCheckpoint);
}

nlohmann::json position_json(const RunPosition& position) {
  nlohmann::json json = {{"step", position.step},          {"lr_steps", position.lr_steps},
                         {"epoch", position.epoch},        {"in_epoch", position.in_epoch},
                         {"skipped", position.skipped},    {"skipped_in_row", position.skipped_in_row},
                         {"logged", position.logged},      {"validations_since_best", position.validations_since_best},
                         {"best_validation_loss", nullptr}};
  if (position.best_validation_loss) json["best_validation_loss"] = *position.best_validation_loss;
  return json;
}

RunPosition position_from_json(const nlohmann::json& json) {
  RunPosition position;
  position.step = count_at(json, "step");
  position.lr_steps = count_at(json, "lr_steps");
  position.epoch = count_at(json, "epoch");
  position.in_epoch = json.at("in_epoch").get<bool>();
  position.skipped = count_at(json, "skipped");
  position.skipped_in_row = count_at(json, "skipped_in_row");
  position.logged = count_at(json, "logged");
  position.validations_since_best = count_at(json, "validations_since_best");
  if (!json.at("best_validation_loss").is_null()) {
    position.best_validation_loss = number_at(json, "best_validation_loss");
  }
  return position;
}

Optimizer::State optimizer_state(const TensorsByName& tensors, const nlohmann::json& numbers) {
  Optimizer::State state;
  state.tensors = tensors.below("optimizer.");
  for (const auto& [name, value] : numbers.items()) state.numbers[name] = number_at(numbers, name.c_str());
  return state;
}

PythonRandom python_random_from_json(const nlohmann::json& json) {
  std::vector<uint32_t> words;
  for (const auto& word : json) {
    const int64_t value = as_count(word, "python_random");
    if (value > UINT32_MAX) {
      throw FormatError(
          lorikeet::str("the checkpoint's state.json: python_random holds ", value, ", more than 32 bits"),
          kOtherCheckpoint);
    }
    words.push_back(static_cast<uint32_t>(value));
  }
  PythonRandom random(0);
  try {
    random.set_state(words);
  } catch (const FormatError& error) {
    throw FormatError(lorikeet::str("the checkpoint's state.json: ", error.what()), kOtherCheckpoint);
  }
  return random;
}

void restore_scaler(GradScaler& scaler, const nlohmann::json& json) {
  const double scale = number_at(json, "scale");
  const int64_t growth_tracker = count_at(json, "growth_tracker");
  if (!(scale > 0 && scale <= FLT_MAX) || growth_tracker > INT32_MAX) {
    throw FormatError(lorikeet::str("the checkpoint's state.json: scaler has scale ", scale, " and growth_tracker ",
                                    growth_tracker, ", a float above 0 and a small count expected"),
                      kOtherCheckpoint);
  }
  scaler.restore(scale, growth_tracker);
}

void check_format(const nlohmann::json& values) {
  if (count_at(values, "format") != kFormatVersion) {
    throw FormatError(
        lorikeet::str("the checkpoint has format ", values.at("format").dump(), ", expected ", kFormatVersion),
        "resume with the version of lorikeet that wrote it");
  }
  if (!values.at("options").is_object()) {
    throw FormatError("the checkpoint's state.json: options is no JSON object", kOtherCheckpoint);
  }
}

void restore_values(const RunParts& run, const nlohmann::json& values, const TensorsByName& tensors) {
  const auto factors = like_parameters(run, tensors, "lora.");
  const auto position = position_from_json(values);
  const auto python_random = python_random_from_json(values.at("python_random"));
  run.optimizer.restore(optimizer_state(tensors, values.at("optimizer")));
  if (run.average != nullptr) {
    run.average->restore(count_at(values, "average_steps"), like_parameters(run, tensors, "average."));
  }
  run.loader.restore(loader_from_json(values.at("loader")));
  if (run.scaler != nullptr) restore_scaler(*run.scaler, values.at("scaler"));
  set_generator_state(run.generators.cpu, tensors.at("generator.cpu"));
  set_generator_state(run.generators.device, tensors.at("generator.device"));
  run.python_random = python_random;
  if (run.models != nullptr) run.models->replace_taken_out(tensors.below("taken_out."));
  torch::NoGradGuard no_grad;
  for (size_t i = 0; i < factors.size(); ++i) run.parameters[i].value.detach().copy_(factors[i]);
  run.position = position;
}

}  // namespace

CheckpointState save_run(const RunParts& run) {
  CheckpointState state;
  for (size_t i = 0; i < run.parameters.size(); ++i) {
    const auto& parameter = run.parameters[i];
    state.tensors.emplace_back("lora." + parameter.name, parameter.value.detach());
    if (run.average != nullptr) state.tensors.emplace_back("average." + parameter.name, run.average->values()[i]);
  }
  auto& values = state.values;
  values = position_json(run.position);
  values["format"] = kFormatVersion;
  const auto optimizer = run.optimizer.state();
  for (const auto& [name, tensor] : optimizer.tensors) state.tensors.emplace_back("optimizer." + name, tensor);
  values["optimizer"] = optimizer.numbers;
  if (run.average != nullptr) values["average_steps"] = run.average->steps();
  state.tensors.emplace_back("generator.cpu", generator_state(run.generators.cpu));
  state.tensors.emplace_back("generator.device", generator_state(run.generators.device));
  if (run.models != nullptr) {
    for (const auto& [name, tensor] : run.models->taken_out()) state.tensors.emplace_back("taken_out." + name, tensor);
  }
  values["python_random"] = run.python_random.state();
  values["loader"] = to_json(run.loader.state());
  if (run.scaler != nullptr) {
    values["scaler"] = {{"scale", run.scaler->scale()}, {"growth_tracker", run.scaler->growth_tracker()}};
  }
  values["options"] = run.options;
  values["dataset"] = run.dataset;
  return state;
}

void restore_run(const RunParts& run, const CheckpointState& state) {
  try {
    const auto& values = state.values;
    check_format(values);
    check_options(values.at("options"), run.options, run.overridable);
    check_dataset(values.at("dataset"), run.dataset);
    restore_values(run, values, TensorsByName(state.tensors));
  } catch (const nlohmann::json::exception& error) {
    throw FormatError(lorikeet::str("the checkpoint's state.json is damaged: ", error.what()), kOtherCheckpoint);
  } catch (const c10::Error& error) {
    throw FormatError(lorikeet::str("the checkpoint does not fit this machine: ", error.what_without_backtrace()),
                      "resume on the kind of device it was made on");
  }
}

}  // namespace lorikeet
