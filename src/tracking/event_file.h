// TensorBoard's event files: records of protocol buffers, each with its length and two checksums.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "tracking/append_file.h"

namespace lorikeet {

/// CRC-32C (Castagnoli), as in RFC 3720.
uint32_t crc32c(std::string_view bytes);

/// One protocol buffer message, field after field.
class ProtoMessage {
 public:
  /// Left out when zero, as proto3 does; the others are written in any case, since readers ask whether they are there.
  ProtoMessage& add_int(int field, int64_t value);
  ProtoMessage& add_float(int field, float value);
  ProtoMessage& add_double(int field, double value);
  ProtoMessage& add_bytes(int field, std::string_view value);
  ProtoMessage& add_message(int field, const ProtoMessage& value);
  const std::string& bytes() const { return bytes_; }

 private:
  void add_varint(uint64_t value);
  void add_fixed(uint64_t value, int size);
  std::string bytes_;
};

/// One growing file events.out.tfevents.TIME.HOST.PID.NUMBER in `folder`.
class EventFile {
 public:
  /// Throws FileError.
  explicit EventFile(const std::filesystem::path& folder);

  /// A tensorboard.Summary.Value message at a step (unset: none).
  void add_value(const ProtoMessage& value, std::optional<int64_t> step);
  /// Tells readers that the run started again: what other files hold for `step` and later does not count.
  void add_restart(int64_t step);

 private:
  void add_event(ProtoMessage event);
  AppendFile file_;
};

}  // namespace lorikeet
