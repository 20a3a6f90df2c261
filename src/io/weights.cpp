#include "io/weights.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/text.h"
#include "io/safetensors.h"
#include "io/safetensors_header.h"
#include "io/weights_file.h"

namespace lorikeet {
namespace {

class TensorSource : public WeightSource {
 public:
  TensorSource(std::vector<std::pair<std::string, torch::Tensor>> tensors, std::string description)
      : tensors_(tensors.begin(), tensors.end()), description_(std::move(description)) {
    for (const auto& [name, tensor] : tensors) names_.push_back(name);
    if (names_.size() != tensors_.size()) throw FormatError(str(description_, ": a tensor is there twice"));
  }
  std::vector<std::string> names() const override { return names_; }
  bool contains(const std::string& name) const override { return tensors_.contains(name); }
  torch::Tensor tensor(const std::string& name) const override {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) {
      throw FormatError(str(description_, ": no tensor ", quoted_tensor_name(name), " among its ", names_.size()));
    }
    return found->second;
  }
  std::string description() const override { return description_; }

 private:
  std::unordered_map<std::string, torch::Tensor> tensors_;
  std::vector<std::string> names_;
  std::string description_;
};

/// Tensors spread over several files. All are opened at once, so that what is missing is known before any work.
class ShardedSource : public WeightSource {
 public:
  explicit ShardedSource(std::filesystem::path index) : index_(std::move(index)) {
    for (const auto& [name, shard] : read_weight_map()) {
      auto opened = shards_.find(shard);
      if (opened == shards_.end()) opened = shards_.emplace(shard, open_shard(shard)).first;
      if (!opened->second.contains(name)) {
        throw FormatError(str(opened->second.path().string(), ": no tensor ", quoted_tensor_name(name), ", though ",
                              index_.filename().string(), " says it is there"));
      }
      names_.push_back(name);
      shard_of_.emplace(name, &opened->second);
    }
  }
  std::vector<std::string> names() const override { return names_; }
  bool contains(const std::string& name) const override { return shard_of_.contains(name); }
  torch::Tensor tensor(const std::string& name) const override {
    const auto found = shard_of_.find(name);
    if (found == shard_of_.end()) {
      throw FormatError(str(index_.string(), ": no tensor ", quoted_tensor_name(name), " among its ", names_.size()));
    }
    return found->second->tensor(name);
  }
  std::string description() const override { return index_.string(); }

 private:
  std::map<std::string, std::string> read_weight_map() const {
    const std::string text = read_file(index_, kMaxSafetensorsHeader);
    // Anything nested deeper than an index ever is gets dropped while parsing.
    const auto shallow = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) { return depth <= 4; };
    const auto json = nlohmann::json::parse(text, shallow, false);
    const std::string where = index_.string();
    if (!json.is_object()) throw FormatError(str(where, ": not a JSON object; expected an index with a weight_map"));
    const auto map = json.find("weight_map");
    if (map == json.end() || !map->is_object()) {
      throw FormatError(str(where, ": no weight_map; expected one that names the file of each tensor"));
    }
    std::map<std::string, std::string> files;
    for (const auto& [name, shard] : map->items()) {
      if (!shard.is_string()) {
        throw FormatError(str(where, ": weight_map gives ", quoted_tensor_name(shard.dump()), " for ",
                              quoted_tensor_name(name), "; expected a file name"));
      }
      files.emplace(name, shard.get<std::string>());
    }
    return files;
  }

  SafetensorsFile open_shard(const std::string& shard) const {
    const std::filesystem::path name(shard);
    if (name.filename() != name || shard.empty() || shard == "." || shard == ".." ||
        shard.find('\\') != std::string::npos || shard.find('\0') != std::string::npos) {
      throw FormatError(str(index_.string(), ": weight_map names the file ", quoted_tensor_name(shard),
                            "; expected a plain file name of the same folder"));
    }
    const auto path = index_.parent_path() / name;
    if (!std::filesystem::exists(path)) {
      throw FileError(str("cannot find ", path.string(), ", which ", index_.filename().string(), " names"),
                      "copy or download the missing part of the model");
    }
    return SafetensorsFile::open(path);
  }

  std::filesystem::path index_;
  std::map<std::string, SafetensorsFile> shards_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, const SafetensorsFile*> shard_of_;
};

/// Transformers calls its pickled weights otherwise than its others.
std::string pickle_stem(const std::string& stem) { return stem == "model" ? "pytorch_model" : stem; }

/// What to do about a folder that has none of the files looked for, from what it has instead.
std::string hint_for(const std::filesystem::path& folder, const std::string& stem,
                     const std::optional<std::string>& variant) {
  std::vector<std::string> weights;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    const bool ours = name.starts_with(stem + ".") || name.starts_with(pickle_stem(stem) + ".");
    if (ours && (name.find(".safetensors") != std::string::npos || name.ends_with(".bin"))) weights.push_back(name);
  }
  if (weights.empty()) return "";
  std::sort(weights.begin(), weights.end());
  std::string found;
  for (const auto& name : weights) found += str(found.empty() ? "" : ", ", name);
  return str(variant ? "leave the variant out, or choose another" : "choose a variant", "; found ", found);
}

}  // namespace

std::unique_ptr<WeightSource> open_weights(const std::filesystem::path& folder, const std::string& stem,
                                           const std::optional<std::string>& variant) {
  if (variant && (variant->empty() || variant->find_first_of(std::string("/\\\0", 3)) != std::string::npos)) {
    throw UsageError(
        str("the variant ", quoted_tensor_name(*variant), " is no part of a file name; expected e.g. fp16"));
  }
  if (!std::filesystem::is_directory(folder)) throw FileError(str("cannot find the folder ", folder.string()));
  const std::string dotted = variant ? "." + *variant : "";
  const std::string single = str(stem, dotted, ".safetensors");
  // With a variant: first Diffusers' and Transformers' name of today, then the one older Diffusers wrote.
  std::vector<std::string> indices{str(stem, ".safetensors.index", dotted, ".json")};
  if (variant) indices.push_back(str(stem, ".safetensors", dotted, ".index.json"));

  if (std::filesystem::exists(folder / single)) return open_weights_file(folder / single).weights;
  std::string tried = single;
  for (const auto& index : indices) {
    if (std::filesystem::exists(folder / index)) return std::make_unique<ShardedSource>(folder / index);
    tried += str(", ", index);
  }
  const std::string pickle = str(pickle_stem(stem), dotted, ".bin");
  if (std::filesystem::exists(folder / pickle)) return open_weights_file(folder / pickle).weights;
  tried += str(", ", pickle);
  throw FileError(str("cannot find weights in ", folder.string(), ": tried ", tried), hint_for(folder, stem, variant));
}

std::unique_ptr<WeightSource> weights_from_tensors(std::vector<std::pair<std::string, torch::Tensor>> tensors,
                                                   std::string description) {
  return std::make_unique<TensorSource>(std::move(tensors), std::move(description));
}

}  // namespace lorikeet
