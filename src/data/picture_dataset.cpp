#include "data/picture_dataset.h"

#include <algorithm>
#include <system_error>

#include "core/errors.h"
#include "core/listed.h"
#include "core/text.h"
#include "data/dataset_split.h"
#include "data/folder_listing.h"
#include "data/metadata_file.h"
#include "data/parquet_records.h"
#include "data/picture_layout.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;

void refuse_metadata_parquet(const std::string& path) {
  if (base_of(path) != kMetadataParquet) return;
  throw FormatError(str(path, ": metadata in a Parquet file beside pictures is not supported"),
                    "write it as metadata.jsonl");
}

/// Where `datasets` puts Parquet files: directly into the folder, into data/, into a split's folder.
bool is_parquet_place(const std::string& folder) {
  const std::string inner = folder.starts_with("data/") ? folder.substr(5) : folder;
  return inner.empty() || inner == "data" || !split_of_word(inner).empty();
}

/// The Parquet files that make up the data set; none when it is a folder of pictures.
std::vector<std::string> parquet_files(const FolderListing& listing) {
  std::vector<std::string> found;
  bool in_place = false, pictures = false;
  for (const auto& path : listing.files) {
    if (folder_of(path).empty() && is_metadata_file(path)) return {};
    refuse_metadata_parquet(path);
    if (named_like_parquet(path)) {
      found.push_back(path);
      in_place |= is_parquet_place(folder_of(path));
    } else {
      pictures |= named_like_picture(path);
    }
  }
  if (!pictures || found.empty()) return found;
  if (!in_place) return {};
  std::erase_if(found, [](const std::string& path) { return !is_parquet_place(folder_of(path)); });
  return found;
}

void read_parquet_files(const DatasetRequest& request, const std::vector<std::string>& paths, PictureDataset& dataset) {
  std::vector<fs::path> files;
  for (const auto& path : paths) files.push_back(request.folder / path);
  const ParquetColumns columns{request.image_column, request.caption_column, !request.from_stranger};
  dataset.records = read_parquet_records(files, columns, request.cache_dir, request.progress);
  dataset.kind = "Parquet files";
}

void read_parquet(const DatasetRequest& request, const FolderListing& listing, const std::vector<std::string>& found,
                  PictureDataset& dataset) {
  const SplitFiles split = choose_parquet_split(found, request.split);
  read_parquet_files(request, split.files, dataset);
  dataset.skipped = split.others;
  for (const auto& path : listing.files) {
    // Pictures beside them may be what their rows name.
    if (!named_like_parquet(path) && !named_like_picture(path)) dataset.skipped.push_back({path, "not a Parquet file"});
  }
}

void read_pictures(const DatasetRequest& request, const FolderListing& listing, PictureDataset& dataset) {
  const SplitFiles split = choose_split(listing.files, request.split, holds_pictures_itself(request.folder, listing));
  PictureLayout layout(request, split.files);
  layout.read(dataset);
  dataset.skipped.insert(dataset.skipped.end(), split.others.begin(), split.others.end());
}

void read_folder(const DatasetRequest& request, PictureDataset& dataset) {
  const FolderListing listing = list_folder(request.folder);
  const auto parquet = parquet_files(listing);
  if (parquet.empty()) {
    read_pictures(request, listing, dataset);
  } else {
    read_parquet(request, listing, parquet, dataset);
  }
  dataset.skipped.insert(dataset.skipped.end(), listing.passed_over.begin(), listing.passed_over.end());
}

void read_chosen_files(const DatasetRequest& request, PictureDataset& dataset) {
  auto files = *request.files;
  if (!files.empty() && std::all_of(files.begin(), files.end(), named_like_parquet)) {
    return read_parquet_files(request, files, dataset);
  }
  for (const auto& path : files) refuse_metadata_parquet(path);
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  PictureLayout layout(request, files);
  layout.read(dataset);
}

void complete_captions(const DatasetRequest& request, PictureDataset& dataset) {
  std::vector<std::string> without;
  bool any_default = false;
  for (auto& record : dataset.records) {
    if (!record.captions.empty()) continue;
    if (request.default_caption) {
      record.captions = {*request.default_caption};
      any_default = true;
    } else {
      without.push_back(record.name);
    }
  }
  if (!without.empty()) {
    throw FileError(str(without.size(), " of ", dataset.records.size(), " pictures have no caption: ", listed(without)),
                    str("write the caption of a picture into a text file beside it (a.txt for a.png), or a line for it "
                        "into metadata.jsonl, or give one for all with --default_caption"));
  }
  if (any_default) dataset.kind += dataset.kind.empty() ? "default caption" : ", default caption";
}

[[noreturn]] void throw_nothing_found(const DatasetRequest& request, const PictureDataset& dataset) {
  std::vector<std::string> names;
  for (const auto& file : dataset.skipped) names.push_back(file.name + " (" + file.reason + ")");
  throw FileError(str("there is no JPEG, PNG or WebP picture in ", request.folder.string(),
                      names.empty() ? ", it is empty" : ", only " + listed(names)),
                  "--train_data_dir expects a folder with pictures and captions, or Parquet files");
}

}  // namespace

PictureDataset open_picture_dataset(const DatasetRequest& request) {
  PictureDataset dataset;
  if (request.files) {
    read_chosen_files(request, dataset);
  } else {
    read_folder(request, dataset);
  }
  std::stable_sort(dataset.skipped.begin(), dataset.skipped.end(),
                   [](const SkippedFile& a, const SkippedFile& b) { return a.name < b.name; });
  if (dataset.records.empty()) throw_nothing_found(request, dataset);
  complete_captions(request, dataset);
  return dataset;
}

}  // namespace lorikeet
