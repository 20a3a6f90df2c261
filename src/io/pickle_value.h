// What a Python pickle holds, as plain data: nothing of it is ever run.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace lorikeet {

struct AllowedGlobal;
struct PickleValue;
/// Values belong to their PickleDocument. One may be in several places, even in itself.
using PickleRef = PickleValue*;

struct PickleBytes {
  std::string bytes;
};

/// A list, tuple (also torch.Size) or set.
struct PickleSequence {
  std::vector<PickleRef> items;
};

/// A dict, OrderedDict or defaultdict, in the order of insertion; of equal keys the last counts.
struct PickleDict {
  std::vector<std::pair<PickleRef, PickleRef>> items;
};

/// A function, class or constant by name, one of those that are read as data.
struct PickleGlobal {
  const AllowedGlobal* global;
};

/// The bytes under a tensor, on their way into one.
struct PickleStorage {
  torch::Tensor bytes;  // uint8 [n]
  torch::ScalarType type;
};

/// numpy.dtype, and a numpy.ndarray before its contents arrive.
struct PickleNumpyType {
  torch::ScalarType type;
  int64_t bytes;
  bool swapped = false;  // big-endian
};
struct PickleEmptyArray {};

struct PickleValue {
  std::variant<std::monostate, bool, int64_t, double, std::string, PickleBytes, PickleSequence, PickleDict,
               torch::Tensor, PickleGlobal, PickleStorage, PickleNumpyType, PickleEmptyArray>
      data;

  template <class T>
  T* as() {
    return std::get_if<T>(&data);
  }
  template <class T>
  const T* as() const {
    return std::get_if<T>(&data);
  }
  bool is_none() const { return data.index() == 0; }
  /// "a list or tuple", "a tensor": for messages.
  std::string kind() const;

  // What is wanted, or a FormatError that begins with `what`: "the optimizer's 'state'".
  int64_t integer(std::string_view what) const;
  /// An integer counts as a number as well; so does a tensor of one element.
  double number(std::string_view what) const;
  const std::string& text(std::string_view what) const;
  const torch::Tensor& tensor(std::string_view what) const;
  const std::vector<PickleRef>& items(std::string_view what) const;
  const PickleDict& dict(std::string_view what) const;
  /// A dict's value for a text key; null where there is none, or this is no dict.
  const PickleValue* find(std::string_view key) const;
};

}  // namespace lorikeet
