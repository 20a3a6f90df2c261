// Where a model's tensors come from: one file, or several named by an index file.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace lorikeet {

/// Tensors by name, whatever holds them. Models ask this and never open files.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual std::vector<std::string> names() const = 0;
  virtual bool contains(const std::string& name) const = 0;
  /// A constant tensor; throws FormatError when absent.
  virtual torch::Tensor tensor(const std::string& name) const = 0;
  /// For messages: the file or folder.
  virtual std::string description() const = 0;
};

/// Opens `folder`/`stem`[.`variant`].safetensors, or the shards of `folder`/`stem`.safetensors[.`variant`].index.json,
/// or `stem`[.`variant`].bin, which is read as data (torch_file.h). `stem` is "diffusion_pytorch_model" for UNet and
/// VAE, "model" for the text encoder, whose .bin is called pytorch_model. Without the variant's file the plain one is
/// NOT taken in its place: FileError says which names were tried.
std::unique_ptr<WeightSource> open_weights(const std::filesystem::path& folder, const std::string& stem,
                                           const std::optional<std::string>& variant = std::nullopt);

/// A source made of tensors in memory (tests, converted checkpoints).
std::unique_ptr<WeightSource> weights_from_tensors(std::vector<std::pair<std::string, torch::Tensor>> tensors,
                                                   std::string description);

}  // namespace lorikeet
