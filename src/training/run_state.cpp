#include "training/run_state.h"

#include <map>
#include <set>

#include "core/errors.h"
#include "core/text.h"
#include "engine/random.h"

namespace lorikeet {
namespace {

constexpr int64_t kFormatVersion = 1;

/// Options that a resumed run may be given differently: they change no number of the steps to come.
const std::set<std::string>& free_options() {
  static const std::set<std::string> names = {
      "pretrained_model_name_or_path", "revision", "cache_dir", "tokenizer_name", "instance_data_dir", "class_data_dir",
      "output_dir", "logging_dir", "report_to", "checkpointing_steps", "checkpoints_total_limit",
      "resume_from_checkpoint", "max_train_steps", "num_train_epochs", "validation_prompt", "num_validation_images",
      "validation_epochs", "push_to_hub", "hub_token", "hub_model_id", "dataloader_num_workers", "local_rank", "device",
      "pre_compute_text_embeddings", "gradient_checkpointing", "sample_batch_size", "prior_generation_precision",
      "enable_xformers_memory_efficient_attention", "config", "dry_run"};
  return names;
}

nlohmann::json options_json(const TrainDreamboothOptions& options) {
  auto copy = options;
  return nlohmann::json::parse(fields(copy).to_json());
}

void check_options(const nlohmann::json& then, const nlohmann::json& now) {
  for (const auto& [name, value] : now.items()) {
    if (free_options().contains(name) || !then.contains(name) || then[name] == value) continue;
    throw UsageError(lorikeet::str("the checkpoint was made with --", name, "=", then[name].dump(), ", now it is ", value.dump(),
                         ": the run would not go on as it began"),
                     "give the same value, or start a new run in another --output_dir");
  }
}

nlohmann::json to_json(const PictureRef& picture) {
  return {{"class", picture.is_class}, {"index", picture.index}, {"top", picture.crop.top}, {"left", picture.crop.left}};
}

PictureRef picture_from_json(const nlohmann::json& json) {
  return {json.at("class").get<bool>(), json.at("index").get<int64_t>(),
          Crop{json.at("top").get<int64_t>(), json.at("left").get<int64_t>()}};
}

nlohmann::json to_json(const DreamboothLoader::State& state) {
  nlohmann::json json = {{"order", state.order}, {"position", state.position}, {"pending", nullptr}};
  if (!state.pending) return json;
  json["pending"] = nlohmann::json::array();
  for (const auto& picture : *state.pending) json["pending"].push_back(to_json(picture));
  return json;
}

DreamboothLoader::State loader_from_json(const nlohmann::json& json) {
  DreamboothLoader::State state;
  state.order = json.at("order").get<std::vector<int64_t>>();
  state.position = json.at("position").get<int64_t>();
  if (json.at("pending").is_null()) return state;
  state.pending.emplace();
  for (const auto& picture : json.at("pending")) state.pending->push_back(picture_from_json(picture));
  return state;
}

/// The trained factors under the names that a checkpoint gives them.
std::vector<std::pair<std::string, torch::Tensor>> named_factors(const DreamboothModels& models) {
  std::vector<std::pair<std::string, torch::Tensor>> factors;
  const auto add = [&](const std::string& component, const LoraLayers& layers) {
    for (const auto& [path, adapter] : layers) {
      factors.emplace_back(component + path + ".down", adapter->down);
      factors.emplace_back(component + path + ".up", adapter->up);
    }
  };
  add("unet.", models.unet_lora);
  add("text_encoder.", models.text_lora);
  return factors;
}

class TensorsByName {
 public:
  explicit TensorsByName(const NamedTensors& tensors) : tensors_(tensors.begin(), tensors.end()) {}
  const torch::Tensor& at(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) {
      throw FormatError(lorikeet::str("the checkpoint has no tensor ", name), "resume with the options the run was started with");
    }
    return found->second;
  }

 private:
  std::map<std::string, torch::Tensor> tensors_;
};

void restore_factors(const DreamboothModels& models, const TensorsByName& tensors) {
  torch::NoGradGuard no_grad;
  for (auto& [name, factor] : named_factors(models)) {
    const auto& saved = tensors.at("lora." + name);
    if (saved.sizes() != factor.sizes()) {
      throw FormatError(lorikeet::str("the checkpoint's ", name, " has shape ", saved.sizes(), ", this run's ", factor.sizes()));
    }
    factor.copy_(saved);
  }
}

}  // namespace

CheckpointState save_run(const RunParts& run) {
  CheckpointState state;
  const auto factors = named_factors(run.models);
  const auto& moments = run.optimizer.state();
  for (size_t i = 0; i < factors.size(); ++i) {
    state.tensors.emplace_back("lora." + factors[i].first, factors[i].second.detach());
    state.tensors.emplace_back("adamw.first." + factors[i].first, moments.first[i]);
    state.tensors.emplace_back("adamw.second." + factors[i].first, moments.second[i]);
  }
  state.tensors.emplace_back("generator.cpu", generator_state(run.generators.cpu));
  state.tensors.emplace_back("generator.device", generator_state(run.generators.device));
  auto& values = state.values;
  values["format"] = kFormatVersion;
  values["step"] = run.position.step;
  values["lr_steps"] = run.position.lr_steps;
  values["epoch"] = run.position.epoch;
  values["in_epoch"] = run.position.in_epoch;
  values["optimizer_steps"] = moments.steps;
  values["loader"] = to_json(run.loader.state());
  if (run.scaler != nullptr) {
    values["scaler"] = {{"scale", run.scaler->scale()}, {"growth_tracker", run.scaler->growth_tracker()}};
  }
  values["options"] = options_json(run.options);
  return state;
}

void restore_run(const RunParts& run, const CheckpointState& state) {
  try {
    const auto& values = state.values;
    if (values.at("format").get<int64_t>() != kFormatVersion) {
      throw FormatError(lorikeet::str("the checkpoint has format ", values.at("format").dump(), ", expected ", kFormatVersion),
                        "resume with the version of lorikeet that wrote it");
    }
    check_options(values.at("options"), options_json(run.options));
    const TensorsByName tensors(state.tensors);
    restore_factors(run.models, tensors);
    AdamW::State moments;
    moments.steps = values.at("optimizer_steps").get<int64_t>();
    for (const auto& [name, factor] : named_factors(run.models)) {
      moments.first.push_back(tensors.at("adamw.first." + name));
      moments.second.push_back(tensors.at("adamw.second." + name));
    }
    run.optimizer.restore(moments);
    run.loader.restore(loader_from_json(values.at("loader")));
    if (run.scaler != nullptr) {
      run.scaler->restore(values.at("scaler").at("scale").get<double>(),
                          values.at("scaler").at("growth_tracker").get<int64_t>());
    }
    set_generator_state(run.generators.cpu, tensors.at("generator.cpu"));
    set_generator_state(run.generators.device, tensors.at("generator.device"));
    run.position = {values.at("step").get<int64_t>(), values.at("lr_steps").get<int64_t>(),
                    values.at("epoch").get<int64_t>(), values.at("in_epoch").get<bool>()};
  } catch (const nlohmann::json::exception& error) {
    throw FormatError(lorikeet::str("the checkpoint's state.json is incomplete: ", error.what()),
                      "resume from another checkpoint");
  } catch (const c10::Error& error) {
    throw FormatError(lorikeet::str("the checkpoint does not fit this machine: ", error.what_without_backtrace()),
                      "resume on the kind of device it was made on");
  }
}

}  // namespace lorikeet
