// What every reader of data sets gives: where each picture lies, and what it shows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace lorikeet {

/// One row of a data set: where a picture's encoded bytes are, and its captions.
struct PictureRecord {
  std::string name;                   // for people: path relative to the data set's folder, or "file.parquet row 12"
  std::filesystem::path file;         // holds the bytes...
  int64_t offset = 0;                 // ...from here,
  int64_t bytes = -1;                 // so many; -1: the whole file
  std::vector<std::string> captions;  // one, or several of which training picks one each time
  std::filesystem::path mask;         // of masked loss; empty without
  int64_t repeats = 1;                // times per epoch (kohya's N_name folders)
  int64_t width = 0, height = 0;      // pixels after turning by EXIF; 0 until measured
  std::string sha256;                 // of the encoded bytes, in hex; empty until they were read
};

}  // namespace lorikeet
