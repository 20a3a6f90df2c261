// Reads binary Python pickles (protocols 2 to 5) of plain data and tensors. Other names than those of
// pickle_globals.cpp are refused, so nothing can be run. Source: pickletools.py of CPython.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "io/pickle_heap.h"

namespace lorikeet {

inline constexpr size_t kMaxPickleBytes = size_t{32} << 20;

/// A pickle's value, and everything that it refers to.
struct PickleDocument {
  std::shared_ptr<PickleHeap> heap;
  PickleRef root = nullptr;
};

/// `file` begins every message. Throws FormatError: malformed, longer than kMaxPickleBytes, more than 1,000,000 values,
/// unpacking to more than 64 MiB, or naming anything that is not plain data.
PickleDocument read_pickle(std::string_view bytes, const std::string& file, PickleStorageLoader load);

}  // namespace lorikeet
