// Pictures in folders: which files are pictures, and where their captions are.
#pragma once

#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "data/folder_listing.h"
#include "data/picture_dataset.h"

namespace lorikeet {

struct MetadataRow;

/// Whether the ending is one of a picture format, ours or not.
bool named_like_picture(const std::string& path);

/// Whether a person means it as the caption of the picture beside it, by its ending: .txt, .caption.
bool is_caption_file(const std::string& path);

/// Whether the ending is that of a Parquet file.
bool named_like_parquet(const std::string& path);

/// Whether a picture (told by its first bytes) or a metadata file lies directly in the folder.
bool holds_pictures_itself(const std::filesystem::path& folder, const FolderListing& listing);

/// How often a folder called "N_words" shows its pictures, and the words.
struct RepeatFolder {
  int64_t repeats = 1;
  std::string words;  // empty for a folder that is not called so
};
/// By the innermost folder of the path that is called so; N has one to six digits.
RepeatFolder repeat_folder_of(const std::string& path);

/// One reading of a folder of pictures; see picture_dataset.h for the rules.
class PictureLayout {
 public:
  /// `files`: relative to request.folder, sorted. Both must outlive this.
  PictureLayout(const DatasetRequest& request, const std::vector<std::string>& files);

  /// Fills records, skipped, kind and columns; records may lack captions.
  void read(PictureDataset& dataset);

 private:
  void read_metadata(const std::string& metadata, PictureDataset& dataset);
  PictureRecord named_record(const MetadataRow& row, const std::string& metadata, std::vector<std::string>& missing);
  void read_other_files(PictureDataset& dataset);
  void add_picture(const std::string& path, PictureDataset& dataset);
  void explain_unused(PictureDataset& dataset) const;
  std::string metadata_over(const std::string& path) const;
  bool has_file(const std::string& path) const;
  std::filesystem::path mask_of(const std::string& path) const;

  const DatasetRequest& request_;
  const std::vector<std::string>& files_;
  std::map<std::string, std::string> metadata_;  // by folder
  std::unordered_set<std::string> named_;        // by metadata files
  std::unordered_set<std::string> stems_;        // of pictures outside metadata files' folders
  std::unordered_set<std::string> masked_;       // stems of all pictures
  std::vector<std::string> texts_, masks_;
  bool caption_files_ = false, folder_names_ = false;
};

}  // namespace lorikeet
