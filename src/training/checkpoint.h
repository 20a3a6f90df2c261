// Checkpoints: everything needed to go on as if the run had never stopped.
//
//   OUTPUT/checkpoint-N/pytorch_lora_weights.safetensors   the LoRA so far, as Diffusers loads it
//   OUTPUT/checkpoint-N/training_state.safetensors         factors, optimizer moments and generator states, exact
//   OUTPUT/checkpoint-N/state.json                         step, epoch, data order, options; written last
//
// The folder is written under another name, synced and renamed: a folder called checkpoint-N is whole. A run that dies
// while writing leaves only a folder called .checkpoint-N.incomplete, which the next one removes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "io/safetensors.h"

namespace lorikeet {

/// A checkpoint's contents but for the LoRA file.
struct CheckpointState {
  NamedTensors tensors;
  nlohmann::json values;
};

/// Writes OUTPUT/checkpoint-`step`; `write_lora` puts the LoRA file into the folder it is given. An older folder of
/// that name is replaced. Throws FileError; then the checkpoints there were are as they were.
void write_checkpoint(const std::filesystem::path& output, int64_t step, const CheckpointState& state,
                      const std::function<void(const std::filesystem::path&)>& write_lora);

/// Throws FileError or FormatError naming the file.
CheckpointState read_checkpoint(const std::filesystem::path& folder);

/// Whether the folder is one that Diffusers' scripts wrote, with all its files (see training/diffusers_checkpoint.h).
bool is_diffusers_checkpoint(const std::filesystem::path& folder);

/// Whole checkpoints of ours in `output`, lowest step first.
std::vector<std::pair<int64_t, std::filesystem::path>> list_checkpoints(const std::filesystem::path& output);

/// Removes the checkpoints of the lowest steps, so that at most `limit` stay; never that of step `newest`, which may be
/// lower than what an earlier run has left. Call it after the new one is written.
void prune_checkpoints(const std::filesystem::path& output, int64_t limit, int64_t newest);

/// The folder that --resume_from_checkpoint means: "latest" (nullopt without any), a name in `output`, or a path; ours
/// or Diffusers'.
/// Throws FileError for a named one that is not there or not whole.
std::optional<std::filesystem::path> find_checkpoint(const std::filesystem::path& output, const std::string& wanted);

}  // namespace lorikeet
