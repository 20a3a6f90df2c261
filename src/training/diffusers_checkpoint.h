// A checkpoint-N folder of Diffusers' training scripts (accelerate's save_state), read as data.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace lorikeet {

/// The optimizer's state of one parameter: for AdamW `exp_avg` and `exp_avg_sq` in the parameter's shape.
struct DiffusersMoments {
  double step = 0;
  std::map<std::string, torch::Tensor> tensors;
};

/// A parameter group: "lr", "weight_decay", "eps", "initial_lr", "beta1" and "beta2" (of betas), and whatever else is a
/// number; of which parameters.
struct DiffusersGroup {
  std::map<std::string, double> numbers;
  std::vector<int64_t> parameters;
};

struct DiffusersScaler {
  double scale = 0;
  int64_t growth_tracker = 0;
};

/// Parameters are numbered as the script handed them to its optimizer. A parameter that never had a gradient has none
/// of the moments.
struct DiffusersCheckpoint {
  int64_t step = 0;  // optimizer steps: N of the folder's name
  std::map<int64_t, DiffusersMoments> moments;
  std::vector<DiffusersGroup> groups;
  int64_t last_epoch = 0;                  // of the lr schedule, which accelerate steps once per process and step
  std::vector<double> last_lr;             // per group
  torch::Tensor torch_state;               // torch.get_rng_state(): uint8 [5056]
  std::vector<torch::Tensor> cuda_states;  // one per GPU; empty on a CPU
  std::vector<uint32_t> python_state;      // 625 words, for PythonRandom::set_state
  std::vector<uint32_t> numpy_state;       // likewise, of numpy's own MT19937
  std::optional<DiffusersScaler> scaler;
  std::filesystem::path lora;  // pytorch_lora_weights.safetensors
};

/// Reads optimizer.bin, scheduler.bin, random_states_RANK.pkl, and scaler.pt where there is one; the LoRA is not
/// opened. Throws FileError naming the file that is missing, FormatError when the folder is not called checkpoint-N or
/// what is in a file is not what accelerate writes.
DiffusersCheckpoint read_diffusers_checkpoint(const std::filesystem::path& folder, int rank = 0);

}  // namespace lorikeet
