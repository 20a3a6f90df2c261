// LoRA files damaged on purpose, and the whole road that a user's file takes.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "lora/lora_file.h"

namespace lorikeet {

/// The same draws on every machine, which the distributions of <random> are not.
class FuzzRandom {
 public:
  explicit FuzzRandom(uint64_t seed) : random_(seed) {}
  /// 0 to limit - 1; 0 for a limit of 0.
  size_t below(size_t limit) { return limit == 0 ? 0 : static_cast<size_t>(random_() % limit); }
  bool one_in(size_t count) { return below(count) == 0; }
  template <class Values>
  const auto& pick(const Values& values) {
    return values[below(std::size(values))];
  }

 private:
  std::mt19937_64 random_;
};

/// Flips, cuts, copies and replaces bytes of `text`.
void damage_bytes(std::string& text, FuzzRandom& random);

struct FuzzTensor {
  std::string name, dtype, bytes;
  std::vector<int64_t> shape;
};

/// A safetensors file in pieces.
struct FuzzFile {
  std::vector<FuzzTensor> tensors;
  std::vector<std::pair<std::string, std::string>> metadata;
};
FuzzFile read_fuzz_file(const std::filesystem::path& path);

/// The file after one to three changes of the kinds that real damage and bad will make: numbers, types, shapes (huge,
/// empty, negative, of another layer's size), names, metadata, byte ranges, header and length.
std::string damaged_safetensors(FuzzFile file, FuzzRandom& random);

/// A zip file's entries, in order.
using FuzzEntries = std::vector<std::pair<std::string, std::string>>;
FuzzEntries read_fuzz_entries(const std::filesystem::path& path);

/// A torch.save file after changes of its pickle's operations, its storages or its zip structure. Some of the pickles
/// would run `command` in a shell if they were Python's to load.
std::string damaged_torch_file(FuzzEntries entries, const std::string& command, FuzzRandom& random);

/// The models whose weights tests/data/lora/changes.safetensors has.
class FuzzModels {
 public:
  FuzzModels();
  torch::nn::Module& model(const std::string& name) const { return *models_.at(name); }

 private:
  std::map<std::string, std::shared_ptr<torch::nn::Module>> models_;
};

/// How far a file came; it goes on to the next station only when the one before has no objection.
enum class FuzzStation { kRead, kInspect, kAttach, kWrite, kRework, kEnd };

/// Reads `path`, looks at it, attaches it to the models, draws live and fused, takes it out again, writes it in every
/// dialect into `folder`, from where it must be readable, merges, resizes and compares it. Only the library's own
/// errors end the road; anything else is thrown on. Adds test failures for what goes wrong without a word.
FuzzStation take_the_road(const FuzzModels& models, const std::filesystem::path& path,
                          const std::filesystem::path& folder);

}  // namespace lorikeet
