// Pictures whose files have the same bytes.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "data/picture_record.h"

namespace lorikeet {

/// Pairs (later, first) of indices into `records`: the later picture's bytes equal the first one's, which stands before
/// it. Records of the very same place in the same file are not told of. Only pictures of equal size are read, piece by
/// piece; those that cannot be read are left out. `stop` (may be empty) ends the search early when it says true.
std::vector<std::pair<size_t, size_t>> find_duplicates(const std::vector<PictureRecord>& records,
                                                       const std::function<bool()>& stop = {});

}  // namespace lorikeet
