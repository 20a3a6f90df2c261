// The parts of a Stable Diffusion model, each loadable alone.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "models/autoencoder_kl.h"
#include "models/clip_text_model.h"
#include "models/clip_tokenizer.h"
#include "models/unet.h"
#include "pipelines/model_source.h"
#include "schedulers/scheduler.h"

namespace lorikeet {

/// Everything that draws a picture. The modules share one dtype and device.
struct StableDiffusionComponents {
  std::shared_ptr<CLIPTokenizer> tokenizer;
  std::shared_ptr<CLIPTextModel> text_encoder;
  std::shared_ptr<AutoencoderKL> vae;
  std::shared_ptr<UNet2DConditionModel> unet;
  nlohmann::json scheduler_config;
};

/// The folder of a tokenizer that is named by its path or by a Hub id in the cache. Throws HubError for an id that is
/// not.
std::filesystem::path find_tokenizer_folder(const std::string& name_or_path,
                                            const std::optional<std::string>& revision);

/// Each reads one part of a model folder (unet/, vae/, text_encoder/, tokenizer/, scheduler/) or of a single file,
/// frozen, on the CPU. They throw FileError for what is not there and FormatError for what is not as its class would
/// have written it. Of a single file without a config the scheduler is Stable Diffusion's own.
std::shared_ptr<UNet2DConditionModel> load_unet(const ModelSource& source, const std::optional<std::string>& variant,
                                                torch::ScalarType dtype);
std::shared_ptr<AutoencoderKL> load_vae(const ModelSource& source, const std::optional<std::string>& variant,
                                        torch::ScalarType dtype);
std::shared_ptr<CLIPTextModel> load_text_encoder(const ModelSource& source, const std::optional<std::string>& variant,
                                                 torch::ScalarType dtype);
std::shared_ptr<CLIPTokenizer> load_tokenizer(const ModelSource& source);
nlohmann::json load_scheduler_config(const ModelSource& source);

/// Reads model_index.json and checks that its pipeline and its parts are of classes known here; a safety checker,
/// feature extractor or image encoder is left out with one note in the log. Of a single file: that it is such a model,
/// and its config's model_index.json.
/// Throws FileError without one, FormatError naming the part and its class, or what the file is instead.
void check_model_index(const ModelSource& source);

/// Checks that what one part gives is as wide as what the next one takes. Throws FormatError with both numbers.
void check_parts_fit(const StableDiffusionComponents& components);

/// All parts, after check_model_index; they fit together.
StableDiffusionComponents load_components(const ModelSource& source, const std::optional<std::string>& variant,
                                          torch::ScalarType dtype);

/// The scheduler as StableDiffusionPipeline holds it: its constructor forces steps_offset to 1 and clip_sample to
/// false. With a `name` (see schedulers/make_scheduler.h) what X.from_config(pipeline.scheduler.config) gives.
std::unique_ptr<Scheduler> make_pipeline_scheduler(const nlohmann::json& scheduler_config,
                                                   const std::optional<std::string>& name = std::nullopt);

/// Of a module's first parameter.
torch::ScalarType module_dtype(const torch::nn::Module& module);
torch::Device module_device(const torch::nn::Module& module);

}  // namespace lorikeet
