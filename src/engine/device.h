// Where tensors live and in which precision: chosen once, in a recipe or a pipeline.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>

namespace lorikeet {

/// Loads libtorch's CUDA half at run time, once. Returns an empty string, or why there is none (not installed, no
/// driver): the program itself links only the CPU half.
std::string load_cuda();
/// True when a GPU can be used; loads CUDA's half.
bool cuda_is_available();

/// "auto" (a GPU where there is one, else the CPU), "cpu", "cuda" or "cuda:1".
/// Throws UsageError for another word, and for "cuda" where there is none, with the reason.
torch::Device choose_device(const std::string& name);

/// "fp32" or "no", "fp16", "bf16"; throws UsageError for another word, and for fp16 on a CPU.
torch::ScalarType parse_dtype(const std::string& name, torch::Device device);

/// "NVIDIA H100 ..., 80 GiB" or the CPU's name and its threads.
std::string device_description(torch::Device device);

/// The most memory this process has held so far: resident bytes on a CPU, allocated bytes on a GPU.
int64_t peak_memory_bytes(torch::Device device);

}  // namespace lorikeet
