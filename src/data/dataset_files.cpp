#include "data/dataset_files.h"

#include <algorithm>
#include <filesystem>

#include "core/errors.h"
#include "core/listed.h"
#include "core/text.h"
#include "data/dataset_card.h"
#include "data/dataset_split.h"
#include "data/folder_listing.h"
#include "data/metadata_file.h"
#include "data/picture_layout.h"
#include "data/split_patterns.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;

/// "./a//b/" -> "a/b". Throws UsageError for a folder that is not below the data set's.
std::string inner_folder(const std::string& text) {
  const fs::path path = fs::path(text).lexically_normal();
  std::string folder = path.string();
  if (path.is_absolute() || folder == ".." || folder.starts_with("../")) {
    throw UsageError(str("\"", text.substr(0, 200), "\" is not a folder within the data set"),
                     "with --dataset_name, --train_data_dir is a folder of it, by its path from there");
  }
  while (folder.ends_with('/')) folder.pop_back();
  return folder == "." ? "" : folder;
}

/// The files below a folder, by their paths from there.
std::vector<std::string> files_below(const std::vector<std::string>& files, const std::string& folder) {
  if (folder.empty()) return files;
  std::vector<std::string> found;
  for (const auto& path : files) {
    if (path.starts_with(folder + "/")) found.push_back(path.substr(folder.size() + 1));
  }
  return found;
}

std::vector<std::string> take_split(const std::string& name, const std::vector<std::string>& files,
                                    const std::vector<SplitPatterns>& splits, const std::string& wanted) {
  std::vector<std::string> names;
  for (const auto& split : splits) {
    if (split.split == wanted) return files_of_split(files, split);
    names.push_back(split.split);
  }
  if (names.empty()) return {};
  throw UsageError(str("the data set ", name, " has no split \"", wanted, "\", it has: ", listed(names, 20)),
                   "its owner names splits in the metadata of README.md, or by folders and file names");
}

bool is_of_picture_folder(const std::string& path) {
  return named_like_picture(path) || is_metadata_file(base_of(path)) || is_caption_file(path);
}

DatasetSelection of_one_form(const std::vector<std::string>& files) {
  int64_t parquet = 0, pictures = 0;
  for (const auto& path : files) {
    if (named_like_parquet(path) && base_of(path) != kMetadataParquet) ++parquet;
    if (named_like_picture(path)) ++pictures;
  }
  DatasetSelection selection{files, DatasetForm::kNeither};
  if (parquet == 0 && pictures == 0) return selection;
  selection.form = parquet >= pictures ? DatasetForm::kParquet : DatasetForm::kPictures;
  std::erase_if(selection.files, [&](const std::string& path) {
    if (selection.form == DatasetForm::kParquet) return !named_like_parquet(path);
    return !is_of_picture_folder(path) && base_of(path) != kMetadataParquet;
  });
  return selection;
}

}  // namespace

DatasetSelection select_dataset_files(const DatasetContents& contents, const DatasetChoice& choice) {
  const auto configs = dataset_configs(contents.readme, contents.yaml);
  const std::string folder = inner_folder(choice.data_dir);
  // A folder that was asked for stands in for the files of whatever configuration.
  const bool needs_config = folder.empty() || choice.config_name;
  const DatasetConfig* config = needs_config ? choose_config(configs, choice.config_name) : nullptr;
  const std::string base = !folder.empty() ? folder : config ? inner_folder(config->data_dir) : "";
  const auto files = files_below(contents.files, base);
  if (files.empty() && !base.empty()) {
    throw UsageError(str("the data set ", contents.name, " has no files in ", base),
                     folder.empty() ? "" : "--train_data_dir is a folder within the data set of --dataset_name");
  }
  const bool by_card = folder.empty() && config && config->data_files;
  const auto splits = by_card ? *config->data_files : default_split_patterns(files);
  auto chosen = take_split(contents.name, files, splits, choice.split);
  if (!base.empty()) {
    for (auto& path : chosen) path.insert(0, base + "/");
  }
  return of_one_form(chosen);
}

}  // namespace lorikeet
