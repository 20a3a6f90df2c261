#include "pipelines/single_file_writer.h"

#include <array>

#include "core/errors.h"
#include "core/text.h"
#include "io/safetensors.h"
#include "io/safetensors_header.h"
#include "pipelines/original_layout.h"

namespace lorikeet {
namespace {

[[noreturn]] void refuse(const WeightSource& source, const std::string& name) {
  throw FormatError(str(source.description(), ": ", quoted_tensor_name(name), " has no place in the original layout"),
                    "write a model folder in Diffusers' layout instead");
}

void add_renamed(NamedTensors& tensors, const WeightSource& source, const ModuleNames& names,
                 const std::string& prefix) {
  for (const auto& name : source.names()) {
    const auto original = names.original(name);
    if (!original) refuse(source, name);
    auto tensor = source.tensor(name);
    // The VAE's attention: linear layers that were 1x1 convolutions.
    const bool convolution = prefix == kOriginalVae && original->find(".attn_1.") != std::string::npos;
    if (convolution && tensor.dim() == 2) tensor = tensor.unsqueeze(-1).unsqueeze(-1);
    tensors.emplace_back(prefix + *original, tensor);
  }
}

/// Transformers' own name of a text encoder's tensor; version 5 leaves out the beginning.
std::string full_name(const std::string& name) { return name.starts_with("text_model.") ? name : "text_model." + name; }

void add_clip(NamedTensors& tensors, const WeightSource& source) {
  for (const auto& name : source.names()) tensors.emplace_back(kOriginalClip + full_name(name), source.tensor(name));
}

void add_open_clip(NamedTensors& tensors, const WeightSource& source) {
  std::vector<std::string> full;
  std::map<std::string, torch::Tensor> projections;  // q, k and v, by full name
  for (const auto& name : source.names()) full.push_back(full_name(name));
  const int64_t layers = count_after(full, "text_model.encoder.layers.");
  const auto names = open_clip_names(layers);
  for (const auto& name : source.names()) {
    const std::string whole = full_name(name);
    if (whole.ends_with("embeddings.position_ids")) continue;  // a buffer of Transformers'
    if (const auto original = names.original(whole)) {
      tensors.emplace_back(kOriginalOpenClip + *original, source.tensor(name));
    } else {
      projections.emplace(whole, source.tensor(name));
    }
  }
  for (int64_t i = 0; i < layers; ++i) {
    for (const std::string kind : {"weight", "bias"}) {
      std::vector<torch::Tensor> thirds;
      for (const char* third : {"q_proj.", "k_proj.", "v_proj."}) {
        const auto found = projections.extract(str("text_model.encoder.layers.", i, ".self_attn.", third, kind));
        if (found.empty()) {
          throw FormatError(str(source.description(), ": layer ", i, " has no self_attn.", third, kind));
        }
        thirds.push_back(found.mapped());
      }
      tensors.emplace_back(str(kOriginalOpenClip, "transformer.resblocks.", i, ".attn.in_proj_", kind),
                           torch::cat(thirds));
    }
  }
  if (!projections.empty()) refuse(source, projections.begin()->first);
}

}  // namespace

void write_single_file(const std::filesystem::path& path, const SingleFileParts& parts,
                       const std::map<std::string, std::string>& metadata) {
  NamedTensors tensors;
  add_renamed(tensors, parts.unet, unet_names(parts.unet.names(), Layout::kDiffusers), kOriginalUNet);
  add_renamed(tensors, parts.vae, vae_names(parts.vae.names(), Layout::kDiffusers), kOriginalVae);
  if (parts.open_clip) {
    add_open_clip(tensors, parts.text_encoder);
  } else {
    add_clip(tensors, parts.text_encoder);
  }
  auto all_metadata = metadata;
  all_metadata.emplace("format", "pt");
  write_safetensors(path, tensors, all_metadata);
}

bool is_open_clip(const CLIPTextConfig& config) { return config.hidden_act == Activation::kGelu; }

std::map<std::string, std::string> single_file_metadata(const nlohmann::json& scheduler_config, bool open_clip) {
  const auto told = scheduler_config.find("prediction_type");
  const bool v = told != scheduler_config.end() && *told == "v_prediction";
  return {
      {"modelspec.sai_model_spec", "1.0.0"},
      {"modelspec.architecture", !open_clip ? "stable-diffusion-v1" : str("stable-diffusion-v2-", v ? "768-v" : "512")},
      {"modelspec.implementation", "https://github.com/Stability-AI/generative-models"},
      {"modelspec.prediction_type", v ? "v" : "epsilon"}};
}

std::unique_ptr<WeightSource> weights_of(const torch::nn::Module& module, const std::string& description) {
  std::vector<std::pair<std::string, torch::Tensor>> tensors;
  for (const auto& parameter : module.named_parameters()) {
    tensors.emplace_back(parameter.key(), parameter.value().detach());
  }
  return weights_from_tensors(std::move(tensors), description);
}

}  // namespace lorikeet
