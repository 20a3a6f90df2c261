// TensorBoard's event files: records of protocol buffers, each with its length and two checksums.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "tracking/append_file.h"
#include "tracking/proto_message.h"

namespace lorikeet {

/// CRC-32C (Castagnoli), as in RFC 3720.
uint32_t crc32c(std::string_view bytes);

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
