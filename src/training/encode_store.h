// Encoded inputs on disk: one small file each, found again by what went into it.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace lorikeet {

/// What encoded pictures, and what encoded texts, may take of memory: bytes of each.
inline constexpr int64_t kEncodedBytes = int64_t{1} << 30;

/// A folder of tensors by key. Files are written whole or not at all and carry a checksum: a damaged one counts as
/// absent and is made again. Several runs may share a folder.
class EncodeStore {
 public:
  /// FOLDER/KIND-FINGERPRINT, made when needed. `fingerprint` tells the model that encodes, see model_fingerprint.
  EncodeStore(const std::filesystem::path& folder, const std::string& kind, const std::string& fingerprint);

  /// The tensors saved under `key` (any text), on the CPU; nothing when there are none, or damaged ones.
  std::optional<std::vector<torch::Tensor>> load(const std::string& key) const;
  /// Throws FileError.
  void save(const std::string& key, const std::vector<torch::Tensor>& tensors) const;

 private:
  std::filesystem::path file_of(const std::string& key) const;
  std::filesystem::path folder_;
};

/// SHA-256 over the module's parameters, their names and dtypes, and the kind of device: what its outputs depend on.
std::string model_fingerprint(const torch::nn::Module& module);

}  // namespace lorikeet
