#include "training/run_state_json.h"

#include "core/atomic_file.h"
#include "core/digest.h"
#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

constexpr uint64_t kLargestCount = uint64_t{1} << 53;
constexpr const char* kOtherCheckpoint = "resume from another checkpoint";

/// A damaged value may be megabytes long.
std::string shortened(const std::string& text) { return text.size() <= 60 ? text : text.substr(0, 60) + "..."; }

/// Options that a resumed run may be given differently: they change no number of the steps to come.
const std::set<std::string>& free_options() {
  static const std::set<std::string> names = {"pretrained_model_name_or_path",
                                              "single_file_config",
                                              "revision",
                                              "cache_dir",
                                              "tokenizer_name",
                                              "instance_data_dir",
                                              "class_data_dir",
                                              "train_data_dir",
                                              "dataset_name",
                                              "dataset_config_name",
                                              "output_dir",
                                              "logging_dir",
                                              "report_to",
                                              "checkpointing_steps",
                                              "checkpoints_total_limit",
                                              "resume_from_checkpoint",
                                              "override",
                                              "max_train_steps",
                                              "num_train_epochs",
                                              "validation_prompt",
                                              "validation_prompts",
                                              "num_validation_images",
                                              "validation_epochs",
                                              "validation_steps",
                                              "validation_loss_steps",
                                              "keep_best",
                                              "early_stopping_patience",
                                              "push_to_hub",
                                              "hub_token",
                                              "hub_model_id",
                                              "hub_private_repo",
                                              "hub_create_pr",
                                              "push_checkpoints",
                                              "dataloader_num_workers",
                                              "local_rank",
                                              "device",
                                              "pre_compute_text_embeddings",
                                              "gradient_checkpointing",
                                              "sample_batch_size",
                                              "prior_generation_precision",
                                              "enable_xformers_memory_efficient_attention",
                                              "encode_memory",
                                              "max_nonfinite_steps",
                                              "config",
                                              "dry_run"};
  return names;
}

/// Options that no run goes on with when they change: the checkpoint's tensors, the data's order, or the fingerprints
/// of its pictures and captions, are made for them.
const std::set<std::string>& fixed_options() {
  static const std::set<std::string> names = {"algo",
                                              "rank",
                                              "conv_rank",
                                              "conv_alpha",
                                              "lokr_factor",
                                              "rank_pattern",
                                              "target_modules",
                                              "text_encoder_target_modules",
                                              "train_text_encoder",
                                              "optimizer",
                                              "use_8bit_adam",
                                              "use_ema",
                                              "mixed_precision",
                                              "compat_bugs",
                                              "seed",
                                              "variant",
                                              "train_batch_size",
                                              "with_prior_preservation",
                                              "num_class_images",
                                              "max_train_samples",
                                              "validation_split",
                                              "bucket",
                                              "bucket_reso_steps",
                                              "min_bucket_reso",
                                              "max_bucket_reso",
                                              "bucket_no_upscale",
                                              "resolution",
                                              "image_column",
                                              "caption_column",
                                              "use_rslora",
                                              "lora_alpha",
                                              "instance_prompt",
                                              "class_prompt",
                                              "default_caption",
                                              "masked_loss"};
  return names;
}

nlohmann::json to_json(const PictureRef& picture) {
  return {{"set", picture.set},        {"index", picture.index}, {"top", picture.crop.top},
          {"left", picture.crop.left}, {"flip", picture.flip},   {"caption", picture.caption}};
}

PictureRef picture_from_json(const nlohmann::json& json) {
  return {count_at(json, "set"), count_at(json, "index"), Crop{count_at(json, "top"), count_at(json, "left")},
          json.at("flip").get<bool>(), json.at("caption").get<std::string>()};
}

/// With what is not UTF-8 replaced, which JSON cannot hold and file names may: the name is for people.
std::string shown_name(const std::string& name) {
  const auto text = nlohmann::json(name).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return nlohmann::json::parse(text).get<std::string>();
}

}  // namespace

int64_t as_count(const nlohmann::json& value, const char* name) {
  if (value.is_number_unsigned() && value.get<uint64_t>() <= kLargestCount) return value.get<int64_t>();
  throw FormatError(lorikeet::str("the checkpoint's state.json: ", name, " is ", shortened(value.dump()),
                                  ", a whole number of at least 0 expected"),
                    kOtherCheckpoint);
}

int64_t count_at(const nlohmann::json& json, const char* name) { return as_count(json.at(name), name); }

nlohmann::json to_json(const Loader::State& state) {
  nlohmann::json json = {{"order", state.order}, {"position", state.position}, {"pending", nullptr}};
  if (!state.pending) return json;
  json["pending"] = nlohmann::json::array();
  for (const auto& picture : *state.pending) json["pending"].push_back(to_json(picture));
  return json;
}

Loader::State loader_from_json(const nlohmann::json& json) {
  Loader::State state;
  for (const auto& example : json.at("order")) state.order.push_back(as_count(example, "order"));
  state.position = count_at(json, "position");
  if (json.at("pending").is_null()) return state;
  state.pending.emplace();
  for (const auto& picture : json.at("pending")) state.pending->push_back(picture_from_json(picture));
  return state;
}

nlohmann::json dataset_json(const PictureSets& sets) {
  auto json = nlohmann::json::array();
  for (const auto& set : sets) {
    for (int64_t i = 0; i < set->size(); ++i) {
      const auto& record = set->record(i);
      std::string what = lorikeet::str(set->content_hash(i), " ", record.repeats, " ");
      if (!record.mask.empty()) what += sha256_hex(read_file(record.mask));
      for (const auto& caption : record.captions) what += lorikeet::str("\n", caption.size(), " ", caption);
      json.push_back({shown_name(record.name), sha256_hex(what).substr(0, 12)});
    }
  }
  return json;
}

void check_dataset(const nlohmann::json& then, const nlohmann::json& now) {
  const char* hint =
      "train with the same pictures and captions, or start a new run in another --output_dir; a Hub data set's earlier "
      "revision stays in the Hub's cache, whose snapshots/COMMIT can be given as --dataset_name";
  if (!then.is_array()) throw FormatError("the checkpoint's state.json: dataset is no JSON array", kOtherCheckpoint);
  const auto shared = std::min(then.size(), now.size());
  for (size_t i = 0; i < shared; ++i) {
    if (then[i] == now[i]) continue;
    const auto was = then.at(i).at(0).get<std::string>(), is = now.at(i).at(0).get<std::string>();
    throw UsageError(was == is ? lorikeet::str("the picture ", is,
                                               " or its caption is not the one that the checkpoint "
                                               "was made with")
                               : lorikeet::str("the checkpoint was made with the picture ", shortened(was), " where ",
                                               is, " is now"),
                     hint);
  }
  if (then.size() == now.size()) return;
  throw UsageError(
      lorikeet::str("the checkpoint was made with ", then.size(), " pictures, there are ", now.size(), " now"), hint);
}

void check_options(const nlohmann::json& then, const nlohmann::json& now, const std::set<std::string>& overridable) {
  for (const auto& [name, value] : now.items()) {
    if (free_options().contains(name) || overridable.contains(name)) continue;
    if (!then.contains(name) || then[name] == value) continue;
    const bool may = !fixed_options().contains(name);
    throw UsageError(lorikeet::str("the checkpoint was made with --", name, "=", then[name].dump(), ", now it is ",
                                   value.dump(), ": the run would not go on as it began"),
                     may ? lorikeet::str("give the same value, or --override ", name, " if you mean the change")
                         : "give the same value, or start a new run in another --output_dir");
  }
}

void check_overrides(const std::vector<std::string>& names, const nlohmann::json& options) {
  for (const auto& name : names) {
    if (!options.contains(name)) {
      throw UsageError(lorikeet::str("--override: there is no option --", name), "`--help` lists all options");
    }
    if (!fixed_options().contains(name)) continue;
    throw UsageError(lorikeet::str("--override: a run cannot go on with another --", name),
                     "start a new run in another --output_dir");
  }
}

}  // namespace lorikeet
