#include "data/picture_bytes.h"

#include "core/errors.h"
#include "core/text.h"
#include "io/file_range.h"

namespace lorikeet {

std::string read_picture_bytes(const PictureRecord& record, int64_t limit) {
  constexpr size_t kPiece = size_t{1} << 20;
  FileRange range(record.file, record.offset, record.bytes, record.name);
  if (range.size() > static_cast<uint64_t>(limit)) {
    throw FormatError(str(record.name, " has ", range.size(), " bytes: at most ", limit, " are accepted"));
  }
  std::string bytes;
  bytes.reserve(static_cast<size_t>(range.size()));
  while (bytes.size() < range.size()) bytes += range.read(bytes.size(), kPiece);
  return bytes;
}

}  // namespace lorikeet
