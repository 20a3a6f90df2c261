// Pictures copied out of their containers into one file, once, with an index of where each lies; later runs find both.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/picture_record.h"

namespace lorikeet {

/// FOLDER/pictures-KEY.bin (encoded pictures, one after another) and FOLDER/pictures-KEY.index (records and a
/// checksum). Both are written aside, synced and renamed, the index last. While one process has a key open, others wait
/// for it.
class PictureSpill {
 public:
  /// Makes the folder where there is none, and waits for other processes (Interrupted when asked to stop meanwhile).
  /// `key` names the set: letters and digits. Throws FileError.
  PictureSpill(std::filesystem::path folder, const std::string& key);
  ~PictureSpill();
  PictureSpill(const PictureSpill&) = delete;
  PictureSpill& operator=(const PictureSpill&) = delete;

  /// The records of an earlier run; nothing where there are none, or where a file is damaged (which is logged).
  std::optional<std::vector<PictureRecord>> load() const;

  /// Begins anew, for about so many bytes of pictures. Throws FileError naming both numbers when the disk has less.
  void begin(int64_t bytes);
  /// Adds a row: its bytes are copied, and the record gets its file, offset and bytes.
  void add(PictureRecord record, std::string_view bytes);
  /// Adds a row whose picture stays in a file of its own.
  void add(PictureRecord record);
  /// Makes both files so, and gives all records. Throws FileError; then nothing was changed that `load` would believe.
  std::vector<PictureRecord> commit();

 private:
  class Lock;
  struct Writing;

  std::filesystem::path bin_, index_;
  std::unique_ptr<Lock> lock_;
  std::unique_ptr<Writing> writing_;
};

}  // namespace lorikeet
