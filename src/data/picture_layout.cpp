#include "data/picture_layout.h"

#include <algorithm>
#include <set>
#include <system_error>

#include "core/errors.h"
#include "core/text.h"
#include "data/caption_text.h"
#include "data/metadata_file.h"
#include "io/file_range.h"
#include "io/image_size.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMaskEnding = ".mask.png";
constexpr const char* kCaptionEndings[] = {".txt", ".caption"};

std::string ending_of(const std::string& path) {
  std::string ending = fs::path(path).extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(), [](unsigned char c) { return std::tolower(c); });
  return ending;
}

std::string stem_of(const std::string& path) {
  return path.substr(0, path.size() - fs::path(path).extension().string().size());
}

bool is_picture(const fs::path& file, const std::string& name) {
  FileRange range(file, 0, -1, name);
  return starts_like_picture(range.read(0, 12));
}

std::string clipped(const std::string& text) { return text.size() <= 200 ? text : text.substr(0, 200) + "..."; }

/// The named file's path relative to the data set's folder. Throws FormatError when it is not below that.
std::string inner_path(const MetadataRow& row, const std::string& metadata) {
  const std::string& named = row.file_name;
  const bool drive = named.size() > 2 && named[1] == ':' && (named[2] == '/' || named[2] == '\\');
  const fs::path path = (fs::path(folder_of(metadata)) / named).lexically_normal();
  const bool outside = path.begin() != path.end() && *path.begin() == "..";
  if (named.starts_with('/') || named.starts_with('\\') || drive || outside || named.find("://") != std::string::npos ||
      named.find('\0') != std::string::npos) {
    throw FormatError(str(row.where, ": \"", clipped(named), "\" is not a path within the data set's folder"),
                      "name files relative to the folder of the metadata file, without a leading / and without ..");
  }
  return path.string();
}

void throw_missing(const std::vector<std::string>& missing, const std::string& metadata, bool backslashes) {
  std::string text;
  for (size_t i = 0; i < missing.size() && i < 5; ++i) text += (i ? ", " : "") + missing[i];
  if (missing.size() > 5) text += str(" and ", missing.size() - 5, " more");
  throw FileError(
      str(missing.size() == 1 ? "a file named in " : "files named in ", metadata,
          missing.size() == 1 ? " is not there: " : " are not there: ", text),
      backslashes ? "write folders with / instead of \\" : "file_name is relative to the folder of the metadata file");
}

}  // namespace

bool is_caption_file(const std::string& path) {
  const std::string ending = fs::path(path).extension().string();
  return ending == kCaptionEndings[0] || ending == kCaptionEndings[1];
}

bool named_like_parquet(const std::string& path) { return path.ends_with(".parquet") || path.ends_with(".PARQUET"); }

bool named_like_picture(const std::string& path) {
  static const std::set<std::string> kEndings{".jpg", ".jpeg", ".jpe",  ".jfif", ".png",  ".apng", ".webp", ".gif",
                                              ".bmp", ".tif",  ".tiff", ".avif", ".heic", ".heif", ".jp2",  ".tga"};
  return kEndings.contains(ending_of(path));
}

bool holds_pictures_itself(const fs::path& folder, const FolderListing& listing) {
  return std::any_of(listing.files.begin(), listing.files.end(), [&](const std::string& path) {
    return folder_of(path).empty() && (is_metadata_file(path) || is_picture(folder / path, path));
  });
}

RepeatFolder repeat_folder_of(const std::string& path) {
  for (std::string folder = folder_of(path); !folder.empty(); folder = folder_of(folder)) {
    const std::string base = base_of(folder);
    const size_t digits = std::min(base.find_first_not_of("0123456789"), base.size());
    if (digits == 0 || digits > 6 || base.size() < digits + 2 || base[digits] != '_') continue;
    return {std::stoll(base.substr(0, digits)), base.substr(digits + 1)};
  }
  return {};
}

PictureLayout::PictureLayout(const DatasetRequest& request, const std::vector<std::string>& files)
    : request_(request), files_(files) {
  for (const auto& path : files_) {
    if (!is_metadata_file(base_of(path))) continue;
    const auto [other, is_new] = metadata_.emplace(folder_of(path), path);
    if (!is_new) {
      throw FormatError(
          str("there are both ", other->second, " and ", path, ", expected one metadata file in a folder"),
          "remove the one that is out of date");
    }
  }
}

void PictureLayout::read(PictureDataset& dataset) {
  std::vector<std::string> metadata;
  for (const auto& [folder, path] : metadata_) metadata.push_back(path);
  std::sort(metadata.begin(), metadata.end());
  std::set<std::string> kinds;
  for (const auto& path : metadata) {
    read_metadata(path, dataset);
    kinds.insert(base_of(path));
  }
  read_other_files(dataset);
  explain_unused(dataset);
  std::vector<std::string> parts(kinds.begin(), kinds.end());
  if (caption_files_) parts.push_back("caption files");
  if (folder_names_) parts.push_back("folder names");
  for (const auto& part : parts) dataset.kind += (dataset.kind.empty() ? "" : ", ") + part;
}

void PictureLayout::read_metadata(const std::string& metadata, PictureDataset& dataset) {
  std::vector<std::string> missing;
  bool backslashes = false;
  read_metadata_file(
      request_, metadata,
      [&](MetadataRow row) {
        PictureRecord record = named_record(row, metadata, missing);
        backslashes |= !missing.empty() && row.file_name.find('\\') != std::string::npos;
        dataset.records.push_back(std::move(record));
      },
      dataset.columns);
  if (!missing.empty()) throw_missing(missing, metadata, backslashes);
}

PictureRecord PictureLayout::named_record(const MetadataRow& row, const std::string& metadata,
                                          std::vector<std::string>& missing) {
  PictureRecord record;
  record.name = inner_path(row, metadata);
  if (record.name.ends_with(kMaskEnding)) {
    throw FormatError(str(row.where, ": ", clipped(record.name), " is a mask, expected a picture"),
                      "files called NAME.mask.png say where the loss of a picture counts; rename it");
  }
  record.file = request_.folder / record.name;
  std::error_code error;
  if (!fs::is_regular_file(record.file, error)) {
    missing.push_back(str(clipped(row.file_name), " (line ", row.line, ")"));
  }
  record.captions = row.captions;
  record.mask = mask_of(record.name);
  named_.insert(record.name);
  masked_.insert(stem_of(record.name));
  return record;
}

void PictureLayout::read_other_files(PictureDataset& dataset) {
  for (const auto& path : files_) {
    if (is_metadata_file(base_of(path)) || named_.contains(path)) continue;
    if (path.ends_with(kMaskEnding)) {
      masks_.push_back(path);
    } else if (is_caption_file(path)) {
      texts_.push_back(path);
    } else if (!is_picture(request_.folder / path, path)) {
      dataset.skipped.push_back(
          {path, named_like_picture(path) ? "no JPEG, PNG or WebP file, whatever its name says" : "no picture"});
    } else if (const auto metadata = metadata_over(path); !metadata.empty()) {
      dataset.skipped.push_back({path, "not named in " + metadata});
    } else if (request_.files && !metadata_.empty()) {
      dataset.skipped.push_back(
          {path, "not named in any metadata file"});  // as `datasets` reads a data set by its name
    } else {
      add_picture(path, dataset);
    }
  }
}

void PictureLayout::add_picture(const std::string& path, PictureDataset& dataset) {
  const RepeatFolder repeat = repeat_folder_of(path);
  stems_.insert(stem_of(path));
  masked_.insert(stem_of(path));
  if (repeat.repeats == 0) {
    dataset.skipped.push_back({path, "its folder's name asks for 0 repeats"});
    return;
  }
  PictureRecord record;
  record.name = path;
  record.file = request_.folder / path;
  record.mask = mask_of(path);
  record.repeats = repeat.repeats;
  for (const char* ending : kCaptionEndings) {
    const std::string text = stem_of(path) + ending;
    if (!record.captions.empty() || !has_file(text)) continue;
    record.captions = {read_caption_file(request_.folder / text, text)};
    caption_files_ = true;
  }
  if (record.captions.empty() && !repeat.words.empty()) {
    check_caption(repeat.words, path);
    record.captions = {repeat.words};
    folder_names_ = true;
  }
  dataset.records.push_back(std::move(record));
}

void PictureLayout::explain_unused(PictureDataset& dataset) const {
  for (const auto& path : texts_) {
    const std::string metadata = metadata_over(path);
    if (!metadata.empty()) {
      dataset.skipped.push_back({path, "captions are in " + metadata});
    } else if (!stems_.contains(stem_of(path))) {
      dataset.skipped.push_back({path, "no picture of this name"});
    }
  }
  for (const auto& path : masks_) {
    if (!masked_.contains(path.substr(0, path.size() - kMaskEnding.size()))) {
      dataset.skipped.push_back({path, "a mask of no picture"});
    } else if (!request_.masks) {
      dataset.skipped.push_back({path, "a mask, and masks are not asked for"});
    }
  }
}

/// The metadata file that says what belongs to the data set where `path` lies; empty without one.
std::string PictureLayout::metadata_over(const std::string& path) const {
  for (std::string folder = path; !folder.empty();) {
    folder = folder_of(folder);
    const auto found = metadata_.find(folder);
    if (found != metadata_.end()) return found->second;
  }
  return "";
}

bool PictureLayout::has_file(const std::string& path) const {
  return std::binary_search(files_.begin(), files_.end(), path);
}

fs::path PictureLayout::mask_of(const std::string& path) const {
  if (!request_.masks) return {};
  const fs::path mask = request_.folder / (stem_of(path) + std::string(kMaskEnding));
  std::error_code error;
  return fs::is_regular_file(mask, error) ? mask : fs::path();
}

}  // namespace lorikeet
