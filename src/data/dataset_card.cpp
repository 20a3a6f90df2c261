#include "data/dataset_card.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>

#include "core/errors.h"
#include "core/listed.h"
#include "core/text.h"
#include "hub/model_card.h"

namespace lorikeet {
namespace {

constexpr size_t kMostBytes = 4 << 20;
constexpr size_t kMostEntries = 10'000;    // configurations; splits of one
constexpr size_t kMostPatterns = 200'000;  // of the whole card: aliases make many of few bytes
constexpr const char* kExpected =
    "expected data_files: a pattern, a list of them, or a list of entries with split and path";

std::string text_of(const YAML::Node& node, const char* what) {
  if (!node.IsDefined() || !node.IsScalar()) throw FormatError(str("the data set's card: ", what, " is no text"));
  return node.Scalar();
}

void require_few(size_t count, size_t most, const char* what) {
  if (count > most) throw FormatError(str("the data set's card has more than ", most, " ", what));
}

std::vector<std::string> patterns_of(const YAML::Node& node) {
  if (node.IsScalar()) return {node.Scalar()};
  if (!node.IsSequence()) throw FormatError(str("the data set's card: ", kExpected));
  require_few(node.size(), kMostPatterns, "patterns");
  std::vector<std::string> patterns;
  for (const auto& item : node) patterns.push_back(text_of(item, "a pattern in data_files"));
  return patterns;
}

std::vector<SplitPatterns> data_files_of(const YAML::Node& node) {
  const bool by_split =
      node.IsSequence() && std::any_of(node.begin(), node.end(), [](const auto& item) { return item.IsMap(); });
  if (!by_split) return {{"train", patterns_of(node)}};
  require_few(node.size(), kMostEntries, "splits");
  size_t count = 0;
  std::vector<SplitPatterns> splits;
  for (const auto& item : node) {
    if (!item.IsMap() || !item["split"] || !item["path"]) throw FormatError(str("the data set's card: ", kExpected));
    const std::string name = text_of(item["split"], "a split's name");
    if (std::any_of(splits.begin(), splits.end(), [&](const SplitPatterns& split) { return split.split == name; })) {
      throw FormatError(str("the data set's card: data_files has the split ", name, " twice"));
    }
    splits.push_back({name, patterns_of(item["path"])});
    require_few(count += splits.back().patterns.size(), kMostPatterns, "patterns");
  }
  return splits;
}

/// As Python takes a value for true.
bool is_true(const YAML::Node& node) {
  if (!node || node.IsNull()) return false;
  if (!node.IsScalar()) return node.size() > 0;
  bool value = true;
  return YAML::convert<bool>::decode(node, value) ? value : node.Scalar() != "0" && !node.Scalar().empty();
}

/// A value, or that of a mapping merged with `<<`, which yaml-cpp leaves to its users.
YAML::Node value_of(const YAML::Node& node, const char* key) {
  if (const auto own = node[key]) return own;
  const auto merged = node["<<"];
  return merged && merged.IsMap() ? merged[key] : node[key];
}

DatasetConfig config_of(const YAML::Node& node) {
  if (!node.IsMap()) throw FormatError("the data set's card: an entry of configs is no mapping with config_name");
  DatasetConfig config;
  config.name = text_of(value_of(node, "config_name"), "config_name");
  const auto folder = value_of(node, "data_dir"), files = value_of(node, "data_files");
  if (folder && !folder.IsNull()) config.data_dir = text_of(folder, "data_dir");
  if (files && !files.IsNull()) config.data_files = data_files_of(files);
  config.is_default = is_true(value_of(node, "default"));
  return config;
}

/// Of a key that stands there twice Python takes the last, yaml-cpp the first.
YAML::Node last_value(const YAML::Node& map, const std::string& key) {
  YAML::Node found(YAML::NodeType::Undefined);
  if (!map.IsMap()) return found;
  for (const auto& entry : map) {
    if (entry.first.IsScalar() && entry.first.Scalar() == key) found.reset(entry.second);
  }
  return found;
}

/// Nothing when the text has no `configs`.
std::optional<std::vector<DatasetConfig>> configs_in(const std::string& text, const char* file) {
  if (text.size() > kMostBytes) {
    throw FormatError(
        str(file, " of the data set has ", text.size(), " bytes of YAML, at most ", kMostBytes, " expected"));
  }
  try {
    const YAML::Node root = YAML::Load(text);
    const YAML::Node list = last_value(root, "configs");
    if (!list.IsDefined()) return std::nullopt;
    if (list.IsNull() || (list.IsSequence() && list.size() == 0)) return std::vector<DatasetConfig>();
    if (!list.IsSequence()) throw FormatError("the data set's card: configs is no list");
    require_few(list.size(), kMostEntries, "configurations");
    size_t count = 0;
    std::vector<DatasetConfig> configs;
    for (const auto& item : list) {
      auto config = config_of(item);
      for (const auto& split : config.data_files.value_or(std::vector<SplitPatterns>())) {
        require_few(count += 1 + split.patterns.size(), kMostPatterns, "patterns");
      }
      const auto same = std::find_if(configs.begin(), configs.end(),
                                     [&](const DatasetConfig& other) { return other.name == config.name; });
      if (same == configs.end()) {
        configs.push_back(std::move(config));
      } else {
        *same = std::move(config);
      }
    }
    return configs;
  } catch (const YAML::Exception& error) {
    throw FormatError(str(file, " of the data set holds no YAML that can be read: ", error.what()),
                      "its owner can mend it; or download it and give the folder as --train_data_dir");
  }
}

std::string names_of(const std::vector<DatasetConfig>& configs) {
  std::vector<std::string> names;
  for (const auto& config : configs) names.push_back(config.name);
  return listed(names, 20);
}

}  // namespace

std::vector<DatasetConfig> dataset_configs(const std::string& readme, const std::string& yaml) {
  const auto own = configs_in(yaml, ".huggingface.yaml");
  if (own) return *own;
  return configs_in(card_metadata(readme), "README.md").value_or(std::vector<DatasetConfig>());
}

const DatasetConfig* choose_config(const std::vector<DatasetConfig>& configs, const std::optional<std::string>& name) {
  const auto find = [&](const auto& is_it) -> const DatasetConfig* {
    const auto found = std::find_if(configs.begin(), configs.end(), is_it);
    return found == configs.end() ? nullptr : &*found;
  };
  if (name) {
    if (const auto* found = find([&](const DatasetConfig& config) { return config.name == *name; })) return found;
    if (configs.empty() && *name == "default") return nullptr;
    throw UsageError(str("--dataset_config_name=", *name, ": the data set ",
                         configs.empty() ? "has no configurations" : "has the configurations " + names_of(configs)),
                     configs.empty() ? "leave it out" : "give one of these");
  }
  if (configs.size() <= 1) return configs.empty() ? nullptr : &configs.front();
  const auto is_default = [](const DatasetConfig& config) { return config.is_default || config.name == "default"; };
  if (std::count_if(configs.begin(), configs.end(), is_default) == 1) return find(is_default);
  throw UsageError(str("the data set has several configurations and no default one: ", names_of(configs)),
                   str("choose one: --dataset_config_name=", configs.front().name));
}

}  // namespace lorikeet
