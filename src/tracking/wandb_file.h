// The .wandb file of Weights & Biases: records in checked chunks, in blocks as LevelDB's log has them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "tracking/append_file.h"
#include "tracking/proto_message.h"

namespace lorikeet {

/// One growing file of wandb_internal.Record messages. Each is handed to the system as a whole when it is added, so
/// that what a killed run leaves behind can be read up to its last record.
class WandbFile {
 public:
  /// Begins a new file with the header. Throws FileError, also when the file is there already.
  explicit WandbFile(const std::filesystem::path& path);

  /// Adds a record with `content` in its field `kind`. Throws FileError; then the file is as it was.
  void add(int kind, const ProtoMessage& content);

 private:
  AppendFile file_;
  uint64_t size_ = 0;
  int64_t records_ = 0;
};

/// Reads records one after another. A torn or damaged tail, as a killed run may leave, ends the reading.
class WandbReader {
 public:
  struct Entry {
    uint64_t offset = 0;  // where the record's first chunk begins
    uint64_t end = 0;     // and its last one ends
    std::string record;
  };

  /// Takes a whole file's bytes. Throws FormatError when they do not begin as a .wandb file does.
  explicit WandbReader(std::string bytes);
  std::optional<Entry> next();

 private:
  struct Chunk {
    int type = 0;
    uint64_t offset = 0;
    std::string_view data;
  };
  std::optional<Chunk> next_chunk();

  std::string bytes_;
  uint64_t position_ = 0;
};

}  // namespace lorikeet
