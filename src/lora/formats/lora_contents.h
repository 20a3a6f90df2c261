// The bare contents of a LoRA file: tensors by key, of safetensors and torch files alike.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "lora/lora_file.h"

namespace lorikeet {

struct LoraContents {
  NamedTensors tensors;
  std::vector<torch::Tensor> list;  // instead, of a file that has no keys
  bool is_list = false;
  std::map<std::string, std::string> metadata;  // of a torch file: its texts and numbers
  std::vector<UnusedKey> unused;                // of a torch file: what is no tensor
};

/// The file that `path` means: itself, or the LoRA within a folder. Throws FileError when the folder has none.
std::filesystem::path find_lora_file(const std::filesystem::path& path);

/// Throws FileError, and FormatError when the file is neither kind, damaged, or has more than 30,000 entries. Of a dict
/// within "state_dict" that dict is read; the entries of "string_to_param" get that before their keys.
LoraContents open_lora_contents(const std::filesystem::path& path);

/// A tensor in float32 on the CPU, contiguous. Keeps count of how much memory all take together: views of one storage,
/// and eight-bit numbers, could make much out of a small file.
class FactorReader {
 public:
  explicit FactorReader(std::filesystem::path path);

  /// Throws FormatError naming `key` when the tensor is empty, not of a floating-point type, or holds numbers that are
  /// not finite.
  torch::Tensor read(const std::string& key, const torch::Tensor& tensor);
  /// Of a tensor with one element, a whole number as well. Throws FormatError, too when float32 cannot hold it.
  double number(const std::string& key, const torch::Tensor& tensor) const;

  [[noreturn]] void fail(const std::string& key, const std::string& what, const std::string& hint = "") const;

 private:
  std::filesystem::path path_;
  int64_t bytes_left_;
};

}  // namespace lorikeet
