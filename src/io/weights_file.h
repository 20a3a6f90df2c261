// One file of weights, of either kind: safetensors, or what Python's torch.save wrote.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "io/weights.h"

namespace lorikeet {

/// A file's tensors, read where they are looked at, and what else it says.
struct WeightsFile {
  std::unique_ptr<WeightSource> weights;
  std::map<std::string, std::string> metadata = {};  // of a safetensors file
  std::optional<int64_t> global_step = {};           // of a training program's .ckpt
};

/// Opens a .safetensors file, or one of torch.save's (.bin, .ckpt, .pt): a dict of tensors, maybe within "state_dict"s
/// as training programs nest it; its other values are passed over. Throws as SafetensorsFile::open and TorchFile do,
/// and FormatError where there is no dict or no tensor in it.
WeightsFile open_weights_file(const std::filesystem::path& path);

}  // namespace lorikeet
