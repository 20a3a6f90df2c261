#include "pipelines/single_file.h"

#include "core/errors.h"
#include "core/text.h"
#include "pipelines/original_config.h"
#include "pipelines/original_part.h"

namespace lorikeet {
namespace {

using nlohmann::json;

/// num_hidden_layers of a text encoder's config, if it has a usable one; CLIPTextConfig refuses the others.
std::optional<int64_t> layers_of(const std::optional<json>& config) {
  if (!config || !config->is_object()) return std::nullopt;
  const auto layers = config->find("num_hidden_layers");
  if (layers == config->end() || !layers->is_number_integer()) return std::nullopt;
  return layers->get<int64_t>();
}

}  // namespace

SingleFile SingleFile::open(const std::filesystem::path& path) { return SingleFile(open_weights_file(path)); }

SingleFile::SingleFile(WeightsFile file)
    : weights_(std::move(file.weights)), metadata_(std::move(file.metadata)), global_step_(file.global_step) {
  check_is_stable_diffusion(*weights_);
  open_clip_ = has_open_clip(*weights_);
}

ModelPart SingleFile::part(const std::string& name, const std::optional<json>& config) const {
  const bool large = open_clip_ && prediction_type() == "v_prediction";  // trained on pictures of 768 pixels
  ModelPart part;
  if (name == "unet") {
    part.weights = original_unet(weights_);
    part.config = config ? *config : infer_unet_config(*part.weights, large ? 96 : 64);
  } else if (name == "vae") {
    part.weights = original_vae(weights_);
    part.config = config ? *config : infer_vae_config(*part.weights, large ? 768 : 512);
  } else if (name == "text_encoder") {
    part.weights = open_clip_ ? original_open_clip(weights_, layers_of(config)) : original_clip(weights_);
    part.config = config ? *config : infer_text_config(*part.weights, open_clip_);
  } else {
    throw FormatError(str(weights_->description(), ": a model has no part ", name));
  }
  return part;
}

std::optional<std::string> SingleFile::told_prediction_type() const {
  const auto told = metadata_.find("modelspec.prediction_type");
  if (told != metadata_.end() && told->second.starts_with("v")) return "v_prediction";
  if (told != metadata_.end() && told->second == "epsilon") return "epsilon";
  constexpr int64_t kBaseModelSteps = 875'000;
  if (!open_clip_ || global_step_ == kBaseModelSteps) return "epsilon";
  return std::nullopt;
}

std::string SingleFile::prediction_type() const { return told_prediction_type().value_or("v_prediction"); }

bool SingleFile::guesses_prediction_type() const { return !told_prediction_type(); }

json SingleFile::scheduler_config() const { return original_scheduler_config(prediction_type()); }

}  // namespace lorikeet
