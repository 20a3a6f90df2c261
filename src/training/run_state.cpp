#include "training/run_state.h"

#include <map>
#include <set>

#include "core/errors.h"
#include "core/text.h"
#include "engine/random.h"

namespace lorikeet {
namespace {

constexpr int64_t kFormatVersion = 1;
constexpr uint64_t kLargestCount = uint64_t{1} << 53;
constexpr const char* kOtherCheckpoint = "resume from another checkpoint";

/// A damaged value may be megabytes long.
std::string shortened(const std::string& text) { return text.size() <= 60 ? text : text.substr(0, 60) + "..."; }

/// Options that a resumed run may be given differently: they change no number of the steps to come.
const std::set<std::string>& free_options() {
  static const std::set<std::string> names = {"pretrained_model_name_or_path",
                                              "revision",
                                              "cache_dir",
                                              "tokenizer_name",
                                              "instance_data_dir",
                                              "class_data_dir",
                                              "output_dir",
                                              "logging_dir",
                                              "report_to",
                                              "checkpointing_steps",
                                              "checkpoints_total_limit",
                                              "resume_from_checkpoint",
                                              "max_train_steps",
                                              "num_train_epochs",
                                              "validation_prompt",
                                              "num_validation_images",
                                              "validation_epochs",
                                              "push_to_hub",
                                              "hub_token",
                                              "hub_model_id",
                                              "dataloader_num_workers",
                                              "local_rank",
                                              "device",
                                              "pre_compute_text_embeddings",
                                              "gradient_checkpointing",
                                              "sample_batch_size",
                                              "prior_generation_precision",
                                              "enable_xformers_memory_efficient_attention",
                                              "config",
                                              "dry_run"};
  return names;
}

nlohmann::json options_json(const TrainDreamboothOptions& options) {
  auto copy = options;
  return nlohmann::json::parse(fields(copy).to_json());
}

void check_options(const nlohmann::json& then, const nlohmann::json& now) {
  for (const auto& [name, value] : now.items()) {
    if (free_options().contains(name) || !then.contains(name) || then[name] == value) continue;
    throw UsageError(lorikeet::str("the checkpoint was made with --", name, "=", then[name].dump(), ", now it is ",
                                   value.dump(), ": the run would not go on as it began"),
                     "give the same value, or start a new run in another --output_dir");
  }
}

/// nlohmann::json would turn 1e300 and true into some whole number without a word.
int64_t as_count(const nlohmann::json& value, const char* name) {
  if (value.is_number_unsigned() && value.get<uint64_t>() <= kLargestCount) return value.get<int64_t>();
  throw FormatError(lorikeet::str("the checkpoint's state.json: ", name, " is ", shortened(value.dump()),
                                  ", a whole number of at least 0 expected"),
                    kOtherCheckpoint);
}

int64_t count_at(const nlohmann::json& json, const char* name) { return as_count(json.at(name), name); }

nlohmann::json to_json(const PictureRef& picture) {
  return {
      {"class", picture.is_class}, {"index", picture.index}, {"top", picture.crop.top}, {"left", picture.crop.left}};
}

PictureRef picture_from_json(const nlohmann::json& json) {
  return {json.at("class").get<bool>(), count_at(json, "index"), Crop{count_at(json, "top"), count_at(json, "left")}};
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
  for (const auto& example : json.at("order")) state.order.push_back(as_count(example, "order"));
  state.position = count_at(json, "position");
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
      throw FormatError(lorikeet::str("the checkpoint has no tensor ", name),
                        "resume with the options the run was started with");
    }
    return found->second;
  }

 private:
  std::map<std::string, torch::Tensor> tensors_;
};

void check_like(const torch::Tensor& saved, const torch::Tensor& wanted, const std::string& name) {
  if (saved.sizes() == wanted.sizes() && saved.scalar_type() == wanted.scalar_type()) return;
  throw FormatError(lorikeet::str("the checkpoint's ", name, " is ", saved.scalar_type(), " ", saved.sizes(),
                                  ", this run's ", wanted.scalar_type(), " ", wanted.sizes()),
                    "resume with the options the run was started with");
}

void restore_factors(const DreamboothModels& models, const TensorsByName& tensors) {
  torch::NoGradGuard no_grad;
  for (auto& [name, factor] : named_factors(models)) {
    const auto& saved = tensors.at("lora." + name);
    check_like(saved, factor, "lora." + name);
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
    if (count_at(values, "format") != kFormatVersion) {
      throw FormatError(
          lorikeet::str("the checkpoint has format ", values.at("format").dump(), ", expected ", kFormatVersion),
          "resume with the version of lorikeet that wrote it");
    }
    if (!values.at("options").is_object()) {
      throw FormatError("the checkpoint's state.json: options is no JSON object", kOtherCheckpoint);
    }
    check_options(values.at("options"), options_json(run.options));
    const TensorsByName tensors(state.tensors);
    restore_factors(run.models, tensors);
    AdamW::State moments;
    moments.steps = count_at(values, "optimizer_steps");
    for (const auto& [name, factor] : named_factors(run.models)) {
      moments.first.push_back(tensors.at("adamw.first." + name));
      moments.second.push_back(tensors.at("adamw.second." + name));
      check_like(moments.first.back(), factor, "adamw.first." + name);
      check_like(moments.second.back(), factor, "adamw.second." + name);
    }
    run.optimizer.restore(moments);
    run.loader.restore(loader_from_json(values.at("loader")));
    if (run.scaler != nullptr) {
      run.scaler->restore(values.at("scaler").at("scale").get<double>(),
                          count_at(values.at("scaler"), "growth_tracker"));
    }
    set_generator_state(run.generators.cpu, tensors.at("generator.cpu"));
    set_generator_state(run.generators.device, tensors.at("generator.device"));
    run.position = {count_at(values, "step"), count_at(values, "lr_steps"), count_at(values, "epoch"),
                    values.at("in_epoch").get<bool>()};
  } catch (const nlohmann::json::exception& error) {
    throw FormatError(lorikeet::str("the checkpoint's state.json is damaged: ", error.what()), kOtherCheckpoint);
  } catch (const c10::Error& error) {
    throw FormatError(lorikeet::str("the checkpoint does not fit this machine: ", error.what_without_backtrace()),
                      "resume on the kind of device it was made on");
  }
}

}  // namespace lorikeet
