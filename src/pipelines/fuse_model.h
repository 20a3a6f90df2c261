// A whole model with LoRAs baked into its weights, written out.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lora/lora_file.h"
#include "pipelines/adapter_weight.h"
#include "pipelines/lora_report.h"
#include "pipelines/model_source.h"

namespace lorikeet {

struct FuseRequest {
  ModelSource model;
  std::optional<std::string> variant = {};
  struct Lora {
    LoraFile file;
    AdapterWeight weight;
  };
  std::vector<Lora> loras;
  double scale = 1;     // on top of each LoRA's weight
  bool strict = false;  // whatever has no effect is an error
};

struct FusedModel {
  std::vector<LoraReport> reports;           // one per LoRA
  int64_t changed = 0;                       // tensors
  std::vector<std::filesystem::path> words;  // files with the LoRAs' learned words, which no weight holds
};

/// Writes the model into the folder `output`, which must be new or empty, in Diffusers' layout: of UNet and text
/// encoder only the tensors that a LoRA changes are others, in the dtype they had; everything else is copied. `output`
/// with the ending .safetensors gets a single file in the original layout instead. Throws FileError, FormatError as
/// loading does; then `output` holds no model.
FusedModel write_fused_model(const FuseRequest& request, const std::filesystem::path& output);

}  // namespace lorikeet
