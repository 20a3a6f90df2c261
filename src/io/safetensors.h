// The safetensors file format: u64 little-endian header length N, N bytes of JSON, then the tensors' bytes.
// Source: https://github.com/huggingface/safetensors (format section of its README).
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace lorikeet {

/// A read-only view of one safetensors file, mapped into memory. Tensors share the mapping and keep it alive;
/// treat them as constant. Every header field is checked before any tensor is handed out.
class SafetensorsFile {
 public:
  /// Throws FileError when the file cannot be read, FormatError (naming the tensor and both numbers) when its
  /// header is malformed: not JSON, too long, unknown dtype, shape and byte range that disagree, overlapping or
  /// out-of-file ranges, holes.
  static SafetensorsFile open(const std::filesystem::path& path);

  const std::filesystem::path& path() const;
  /// Names in the order of their bytes in the file.
  const std::vector<std::string>& names() const;
  bool contains(const std::string& name) const;
  /// Throws FormatError when there is no such tensor.
  torch::Tensor tensor(const std::string& name) const;
  /// Shape without touching the data.
  std::vector<int64_t> shape(const std::string& name) const;
  torch::ScalarType dtype(const std::string& name) const;
  /// The `__metadata__` strings.
  const std::map<std::string, std::string>& metadata() const;

 private:
  struct Contents;
  explicit SafetensorsFile(std::shared_ptr<const Contents> contents) : contents_(std::move(contents)) {}
  std::shared_ptr<const Contents> contents_;
};

using NamedTensors = std::vector<std::pair<std::string, torch::Tensor>>;

/// Writes atomically (see core/atomic_file.h), laid out as the Python library does it: by dtype alignment, then
/// name. The same tensors and metadata give the same bytes. Tensors may be on any device and need not be contiguous.
void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

/// The bytes that write_safetensors would write.
std::string safetensors_bytes(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata);

}  // namespace lorikeet
