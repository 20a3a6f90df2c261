// A LoRA's tensors under the names of the dialects that are written, in float32.
#pragma once

#include <string>

#include "io/safetensors.h"
#include "lora/lora_file.h"

namespace lorikeet {

/// One model's part of a LoRA file: see kLoraParts.
struct ModelLayers {
  std::string name;
  const std::vector<LayerChange>* layers = nullptr;
};
/// Those that have layers.
std::vector<ModelLayers> model_layers(const LoraFile& file);

/// The same change with strength 1: the strength is multiplied into one factor.
LayerChange with_unit_strength(const LayerChange& change);

/// The same change without Tucker's middle factor, which goes into `down`; up and down have as many dimensions.
/// Throws FormatError, naming dialect and layer, when the change is no plain LoRA.
LayerChange as_plain_lora(const LayerChange& change, const std::string& model, LoraDialect dialect);

/// Whether Diffusers' own dialect has names for all of it: there are none for DoRA and biases.
bool fits_diffusers_dialect(const LoraFile& file);

/// Both throw FormatError for what is no plain LoRA.
NamedTensors diffusers_tensors(const LoraFile& file);
/// Also throws for DoRA per input, for DoRA in some layers of a model only, and for DoRA with biases.
NamedTensors peft_tensors(const LoraFile& file);
/// The LoraConfig of each model as Diffusers stores it under lora_adapter_metadata: JSON, keys prefixed by the model.
/// Source: StableDiffusionLoraLoaderMixin.save_lora_weights; only what every PEFT since 0.9 knows is written.
std::string peft_metadata(const LoraFile& file);

/// The same file with the strengths that kohya's dialect can tell: one alpha for all linear layers and 1x1
/// convolutions, what it does not tell multiplied into `up`. Diffusers reads only one alpha for a UNet's attention
/// layers, and only one for a text encoder. Strength 1 for what has no rank, or strength 0: an alpha of 0 means the
/// rank to kohya's programs.
LoraFile with_kohya_strengths(const LoraFile& file);
/// Of a file with such strengths. Holds every kind of change, and words of textual inversion under bundle_emb.
NamedTensors kohya_tensors(const LoraFile& file);

}  // namespace lorikeet
