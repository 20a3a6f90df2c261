// Where the values of one pickle live while and after it is read, and what reading it may cost.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "io/pickle_value.h"

namespace lorikeet {

/// Gives the bytes of the storage with this key as uint8 [n], n the bytes expected. Throws FormatError.
using PickleStorageLoader = std::function<torch::Tensor(const std::string& key, int64_t bytes)>;

/// Owns values flatly: what holds itself, or is nested a million deep, is freed like the rest. Everything that a pickle
/// makes is charged here, so that a few bytes cannot ask for much.
class PickleHeap {
 public:
  static constexpr size_t kMaxValues = 1'000'000;
  static constexpr size_t kMaxCopied = size_t{64} << 20;  // bytes that values are copied and unpacked to

  PickleHeap(std::string file, PickleStorageLoader load) : file_(std::move(file)), load_(std::move(load)) {}

  template <class T>
  PickleRef make(T data) {
    if (values_.size() >= kMaxValues) fail("it holds more than 1,000,000 values");
    values_.push_back(PickleValue{std::move(data)});
    return &values_.back();
  }
  /// Counts work and memory that is not in proportion to the pickle's own bytes.
  void charge(size_t bytes) {
    if (bytes > kMaxCopied - copied_) fail("it unpacks to more than 64 MiB");
    copied_ += bytes;
  }
  torch::Tensor storage(const std::string& key, int64_t bytes) const { return load_(key, bytes); }
  /// Reading is over: the loader may go.
  void close() { load_ = nullptr; }
  [[noreturn]] void fail(const std::string& what) const;

 private:
  std::string file_;
  PickleStorageLoader load_;
  std::deque<PickleValue> values_;  // values keep their place
  size_t copied_ = 0;
};

/// A name that a pickle may mention, and what stands for calling it.
struct AllowedGlobal {
  std::string_view module, name;
  /// Null: not to be called.
  PickleRef (*call)(PickleHeap& heap, const std::vector<PickleRef>& arguments) = nullptr;
  /// The element type of a storage class or of torch.float32 and its like; Undefined otherwise.
  torch::ScalarType type = torch::ScalarType::Undefined;
};

/// Throws FormatError ("the pickle wants to call os.system, which is refused").
PickleRef pickle_global(PickleHeap& heap, std::string_view module, std::string_view name);
/// callable(*arguments)
PickleRef pickle_call(PickleHeap& heap, const PickleValue& callable, const PickleValue& arguments);
/// object.__setstate__(state)
void pickle_set_state(PickleHeap& heap, PickleValue& object, const PickleValue& state);
/// What torch.save left outside the pickle: ("storage", class, key, device, count).
PickleRef pickle_storage(PickleHeap& heap, const PickleValue& id);

/// A name for a message: cut, and without control characters.
std::string shown_pickle_name(std::string_view name);

}  // namespace lorikeet
