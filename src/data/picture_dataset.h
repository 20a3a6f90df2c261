// A folder with a data set of captioned pictures, in any of the layouts people use.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/picture_record.h"

namespace lorikeet {

/// What a person says about a data set.
struct DatasetRequest {
  std::filesystem::path folder;
  /// Only these of its files, by their paths in it, whatever their split (data/dataset_files.h chooses them).
  std::optional<std::vector<std::string>> files;
  bool from_stranger = false;          // rows of Parquet files name no files of this machine
  std::string image_column = "image";  // metadata files call it file_name, or X_file_name for another column X
  std::string caption_column = "text";
  std::string split = "train";
  std::filesystem::path cache_dir;             // for what must be unpacked from Parquet files
  std::optional<std::string> default_caption;  // of pictures that have none; without it they are an error
  bool masks = false;                          // take NAME.mask.png beside a picture as its mask
  std::function<void(int64_t done, int64_t total)> progress;
};

/// A file that is not part of the data set although it lies in its folder.
struct SkippedFile {
  std::string name;  // relative to the data set's folder
  std::string reason;
};

struct PictureDataset {
  std::vector<PictureRecord> records;
  std::vector<SkippedFile> skipped;  // hidden files are not even mentioned
  std::string kind;                  // "metadata.jsonl", "caption files, folder names", "Parquet files" ...
  std::vector<std::string> columns;  // of the metadata or Parquet files, in order of appearance
};

/// Finds the pictures of a data set and their captions; decodes none.
///
/// Listing: all regular files and links to files below the folder. Hidden ones, folders beginning with "__" and linked
/// folders are passed over, as `datasets` does. A picture is told by its first bytes: JPEG, PNG or WebP.
/// Splits: where the folder holds neither pictures nor a metadata file itself but folders named train, training,
/// validation, valid, val, dev, test, testing, eval or evaluation, only those of the asked split are read; with no such
/// folder everything is "train".
/// Captions: a folder with metadata.jsonl or metadata.csv holds, with all below it, exactly the pictures named there
/// (a folder further down may have a file of its own). Elsewhere the caption is the first line with text, trimmed, of
/// NAME.txt, else NAME.caption beside the picture; else, in a folder N_words, the words. There N, up to six digits, is
/// how often an epoch shows each picture (0: not at all). Last comes default_caption.
/// NAME.mask.png is never a training picture.
/// Order: rows of metadata files as they stand there, file by file, sorted by path; then all other pictures, sorted by
/// path. Sorting compares the bytes of the path relative to the folder, '/' among them: datasets' order of
/// load_dataset("imagefolder", data_files=FOLDER/**) wherever that has one.
/// A folder without a metadata file directly in it whose files are *.parquet is read by data/parquet_records.h, split
/// by file names such as train-00000-of-00003.parquet, else by folder.
///
/// Throws UsageError: an image or caption column, or split, that is not there. FileError: no such folder, nothing in
/// it, pictures without a caption, rows that name files that are not there. FormatError: a damaged row (with its line),
/// a path that leaves the folder, a caption that is not UTF-8 or longer than 100,000 bytes.
PictureDataset open_picture_dataset(const DatasetRequest& request);

}  // namespace lorikeet
