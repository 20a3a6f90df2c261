#include "data/dataset_by_name.h"

#include <algorithm>
#include <map>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/listed.h"
#include "core/log.h"
#include "core/text.h"
#include "data/folder_listing.h"
#include "hub/cache.h"
#include "hub/fetch_dataset.h"
#include "hub/hub_error.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;

constexpr const char* kReadme = "README.md";
constexpr const char* kYaml = ".huggingface.yaml";
constexpr const char* kConverted = "refs/convert/parquet";
constexpr size_t kMostText = 16 << 20;

std::string text_if_there(const fs::path& file) {
  std::error_code ignored;
  return fs::is_regular_file(file, ignored) ? read_file(file, kMostText) : "";
}

[[noreturn]] void throw_nothing(const std::string& name, const std::vector<std::string>& files,
                                const std::string& more = "") {
  throw FileError(str("the data set ", name, " holds neither pictures nor Parquet files",
                      files.empty() ? ", it is empty" : ", only " + listed(files), more),
                  "JPEG, PNG and WebP pictures with metadata.jsonl or metadata.csv are read, and Parquet files; no "
                  "archives");
}

NamedDataset local_dataset(const std::string& name, const DatasetChoice& choice) {
  NamedDataset found{.folder = name};
  const DatasetContents contents{name, list_folder(name).files, text_if_there(found.folder / kReadme),
                                 text_if_there(found.folder / kYaml)};
  found.selection = select_dataset_files(contents, choice);
  if (found.selection.form == DatasetForm::kNeither) throw_nothing(name, contents.files);
  return found;
}

/// Configurations by folder, in each a folder for every split ("partial-" before it where only the beginning was
/// converted), in that the files by number.
std::vector<std::string> converted_files(const std::vector<std::string>& paths, const DatasetChoice& choice) {
  std::map<std::string, std::vector<std::string>> whole, partial;
  std::vector<std::string> configs;
  for (const auto& path : paths) {
    const std::string folder = folder_of(path), config = folder_of(folder), split = base_of(folder);
    if (config.empty() || config.find('/') != std::string::npos || !path.ends_with(".parquet")) continue;
    if (configs.empty() || configs.back() != config) configs.push_back(config);
    if (split == choice.split) whole[config].push_back(path);
    if (split == "partial-" + choice.split) partial[config].push_back(path);
  }
  const std::string asked = choice.config_name.value_or("default");
  const bool is_there = std::find(configs.begin(), configs.end(), asked) != configs.end();
  if (!is_there && (choice.config_name || configs.size() != 1)) {
    throw UsageError(str("the Parquet files that the Hub made of the data set have the configurations ",
                         listed(configs, 20), "; \"", asked, "\" is none of them"),
                     "choose one with --dataset_config_name");
  }
  const std::string config = is_there ? asked : configs.front();
  if (whole.contains(config)) return whole[config];
  if (!partial.contains(config)) {
    throw UsageError(str("the data set's configuration ", config, " has no split \"", choice.split, "\""));
  }
  log_warning("the Hub converted only the beginning of the data set: training on that");
  return partial[config];
}

std::optional<NamedDataset> converted_dataset(const std::string& id, const DatasetChoice& choice) {
  NamedDataset found{.is_fetched = true};
  found.selection.form = DatasetForm::kParquet;
  try {
    found.folder = fetch_dataset(id, kConverted, [&](const RepoContents& contents) {
      return found.selection.files = converted_files(contents.paths, choice);
    });
    return found;
  } catch (const HubAnswerError& error) {
    if (error.problem() == HubProblem::kRevisionNotFound) return std::nullopt;
    throw;
  }
}

NamedDataset hub_dataset(const std::string& id, const DatasetChoice& choice) {
  NamedDataset found{.is_fetched = true};
  std::vector<std::string> paths;
  bool has_script = false;
  found.folder = fetch_dataset(id, "main", [&](const RepoContents& repo) {
    paths = repo.paths;
    has_script = std::find(paths.begin(), paths.end(), base_of(id) + ".py") != paths.end();
    if (has_script) return std::vector<std::string>();
    found.selection = select_dataset_files({id, paths, repo.read(kReadme), repo.read(kYaml)}, choice);
    return found.selection.form == DatasetForm::kNeither ? std::vector<std::string>() : found.selection.files;
  });
  if (found.selection.form != DatasetForm::kNeither) return found;
  if (!choice.data_dir.empty()) throw_nothing(id, paths, ", in " + choice.data_dir);
  if (auto converted = converted_dataset(id, choice)) {
    log_info(str("the data set ", id, has_script ? " is made by a program of its own" : " is of another form",
                 ": reading the Parquet files that the Hub made of it"));
    return *converted;
  }
  throw_nothing(id, paths, "; and the Hub made no Parquet files of it");
}

}  // namespace

NamedDataset find_dataset(const std::string& name, const DatasetChoice& choice) {
  std::error_code ignored;
  if (fs::is_directory(name, ignored)) return local_dataset(name, choice);
  if (is_hub_id(name)) return hub_dataset(name, choice);
  throw FileError(str("there is no folder ", name), "give a data set's folder, or its Hub id such as owner/name");
}

}  // namespace lorikeet
