// The encoded bytes of a picture, wherever a record says they are.
#pragma once

#include <cstdint>
#include <string>

#include "data/picture_record.h"

namespace lorikeet {

/// The bytes as they are in the file. Throws FileError when they cannot be read, FormatError when they are more than
/// `limit`.
std::string read_picture_bytes(const PictureRecord& record, int64_t limit = int64_t{1} << 30);

}  // namespace lorikeet
