#include "io/pickle_arrays.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

constexpr size_t kMaxDimensions = 64;
// What torch takes for a tensor, numbers aside: a pickle can ask for one with 17 bytes.
constexpr size_t kTensorBytes = 600, kDimensionBytes = 24;

std::vector<int64_t> whole_numbers(PickleHeap& heap, const PickleValue& value, const char* what) {
  const auto* items = value.as<PickleSequence>();
  if (items == nullptr || items->items.size() > kMaxDimensions) {
    heap.fail(str("a tensor's ", what, " is ", value.kind(), "; expected a tuple of at most 64 numbers"));
  }
  std::vector<int64_t> numbers;
  for (const PickleRef item : items->items) {
    const auto* number = item->as<int64_t>();
    if (number == nullptr || *number < 0) heap.fail(str("a tensor's ", what, " has an entry that is no size"));
    numbers.push_back(*number);
  }
  return numbers;
}

/// Their product; fails beyond 2^63. Zeros count as ones, since torch multiplies strides that way, and make it 0 at
/// last.
int64_t product(PickleHeap& heap, const std::vector<int64_t>& sizes) {
  int64_t all = 1;
  bool empty = false;
  for (const int64_t size : sizes) {
    empty = empty || size == 0;
    if (__builtin_mul_overflow(all, std::max<int64_t>(size, 1), &all))
      heap.fail("a tensor has more than 2^63 elements");
  }
  return empty ? 0 : all;
}

/// Whether a view of these sizes and strides from `offset` on stays within `count` elements.
bool lies_within(const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides, int64_t offset,
                 int64_t count) {
  int64_t last = offset;
  for (size_t i = 0; i < sizes.size(); ++i) {
    int64_t step = 0;
    if (__builtin_mul_overflow(sizes[i] - 1, strides[i], &step) || __builtin_add_overflow(last, step, &last))
      return false;
  }
  return last < count;
}

/// The element type that the last argument of _rebuild_tensor_v3 names.
torch::ScalarType named_type(PickleHeap& heap, const PickleValue& value) {
  const auto* named = value.as<PickleGlobal>();
  if (named == nullptr || named->global->type == torch::ScalarType::Undefined) {
    heap.fail("a tensor's element type is none");
  }
  return named->global->type;
}

int64_t bytes_of(torch::ScalarType type) { return static_cast<int64_t>(c10::elementSize(type)); }

/// A bool that is neither 0 nor 1 would be undefined behaviour for whoever reads it.
torch::Tensor tame_bools(PickleHeap& heap, const torch::Tensor& bytes) {
  heap.charge(bytes.nbytes());
  return bytes.ne(0).view(torch::kUInt8);
}

torch::Tensor view_of(PickleHeap& heap, torch::Tensor bytes, torch::ScalarType type,
                      const std::vector<PickleRef>& where) {
  const auto* offset = where[1]->as<int64_t>();
  const auto sizes = whole_numbers(heap, *where[2], "size");
  const auto strides = whole_numbers(heap, *where[3], "stride");
  if (offset == nullptr || *offset < 0) heap.fail("a tensor's place in its storage is no number");
  if (sizes.size() != strides.size()) {
    heap.fail(str("a tensor has ", sizes.size(), " sizes and ", strides.size(), " strides"));
  }
  heap.charge(kTensorBytes + sizes.size() * kDimensionBytes);
  const int64_t count = bytes.numel() / bytes_of(type), elements = product(heap, sizes);
  if (elements == 0) return torch::empty(sizes, type);
  if (elements > count) heap.fail(str("a tensor has ", elements, " elements, its storage ", count));
  if (!lies_within(sizes, strides, *offset, count)) heap.fail("a tensor reaches out of its storage");
  if (type == torch::kBool) bytes = tame_bools(heap, bytes);
  char* begin = static_cast<char*>(bytes.data_ptr()) + *offset * bytes_of(type);
  return torch::from_blob(
      begin, sizes, strides, [keep = bytes](void*) {}, torch::TensorOptions(type));
}

struct NumpyCode {
  const char* code;
  torch::ScalarType type;
};

constexpr std::array<NumpyCode, 12> kNumpyCodes{{{"b1", torch::kBool},
                                                 {"i1", torch::kInt8},
                                                 {"i2", torch::kInt16},
                                                 {"i4", torch::kInt32},
                                                 {"i8", torch::kInt64},
                                                 {"u1", torch::kUInt8},
                                                 {"u2", torch::kUInt16},
                                                 {"u4", torch::kUInt32},
                                                 {"u8", torch::kUInt64},
                                                 {"f2", torch::kFloat16},
                                                 {"f4", torch::kFloat32},
                                                 {"f8", torch::kFloat64}}};

/// Fills `tensor`, contiguous, from an array's bytes.
void fill(PickleHeap& heap, torch::Tensor& tensor, const PickleNumpyType& type, const std::string& bytes) {
  if (static_cast<int64_t>(bytes.size()) != tensor.numel() * type.bytes) {
    heap.fail(str("an array has ", bytes.size(), " bytes; expected ", tensor.numel(), " times ", type.bytes));
  }
  heap.charge(bytes.size());
  if (bytes.empty()) return;
  char* target = static_cast<char*>(tensor.data_ptr());
  std::memcpy(target, bytes.data(), bytes.size());
  if (type.swapped) {
    for (size_t i = 0; i < bytes.size(); i += static_cast<size_t>(type.bytes)) {
      std::reverse(target + i, target + i + type.bytes);
    }
  }
  if (type.type == torch::kBool) {
    std::transform(target, target + bytes.size(), target, [](char c) { return static_cast<char>(c != 0); });
  }
}

}  // namespace

PickleRef pickle_storage(PickleHeap& heap, const PickleValue& id) {
  const auto* parts = id.as<PickleSequence>();
  if (parts == nullptr || parts->items.size() < 5)
    heap.fail("the pickle refers to something outside that is no storage");
  const auto& items = parts->items;
  const auto *kind = items[0]->as<std::string>(), *key = items[2]->as<std::string>();
  const auto* named = items[1]->as<PickleGlobal>();
  const auto* count = items[4]->as<int64_t>();
  if (kind == nullptr || *kind != "storage" || named == nullptr || key == nullptr || count == nullptr) {
    heap.fail("the pickle refers to something outside that is no storage");
  }
  if (!named->global->name.ends_with("Storage")) heap.fail("a storage's class is none");
  const auto type = named->global->type;
  int64_t bytes = 0;
  if (*count < 0 || __builtin_mul_overflow(*count, bytes_of(type), &bytes)) {
    heap.fail(str("a storage has ", *count, " elements"));
  }
  return heap.make(PickleStorage{heap.storage(*key, bytes), type});
}

PickleRef pickle_tensor(PickleHeap& heap, const std::vector<PickleRef>& arguments) {
  const auto* storage = arguments.size() < 4 ? nullptr : arguments[0]->as<PickleStorage>();
  if (storage == nullptr) heap.fail("the pickle makes a tensor without a storage");
  // The seventh: an element type (v3), or a dict of marks such as "conjugated" (v2), of which none is known here.
  torch::ScalarType type = storage->type;
  if (arguments.size() > 6) {
    if (arguments[6]->as<PickleGlobal>() != nullptr) {
      type = named_type(heap, *arguments[6]);
    } else if (const auto* marks = arguments[6]->as<PickleDict>(); marks == nullptr || !marks->items.empty()) {
      heap.fail("a tensor is marked as conjugated or negated, which is not read here");
    }
  }
  if (storage->bytes.numel() % bytes_of(type) != 0) heap.fail("a storage ends within an element");
  return heap.make(view_of(heap, storage->bytes, type, arguments));
}

PickleRef pickle_parameter(PickleHeap& heap, const std::vector<PickleRef>& arguments) {
  if (arguments.empty() || arguments[0]->as<torch::Tensor>() == nullptr) heap.fail("a parameter is no tensor");
  return arguments[0];
}

PickleRef pickle_numpy_type(PickleHeap& heap, const std::vector<PickleRef>& arguments) {
  const auto* code = arguments.empty() ? nullptr : arguments[0]->as<std::string>();
  if (code == nullptr) heap.fail("a numpy type has no code");
  for (const auto& known : kNumpyCodes) {
    if (*code == known.code) return heap.make(PickleNumpyType{known.type, bytes_of(known.type)});
  }
  heap.fail(str("the numpy type '", shown_pickle_name(*code), "' is not read here"));
}

bool pickle_is_swapped(PickleHeap& heap, const PickleValue& state) {
  const auto* items = state.as<PickleSequence>();
  const auto* order = items == nullptr || items->items.size() < 2 ? nullptr : items->items[1]->as<std::string>();
  if (order == nullptr || (*order != "<" && *order != ">" && *order != "|" && *order != "=")) {
    heap.fail("a numpy type has no byte order");
  }
  return *order == ">";
}

PickleRef pickle_empty_array(PickleHeap& heap, const std::vector<PickleRef>& arguments) {
  const auto* named = arguments.empty() ? nullptr : arguments[0]->as<PickleGlobal>();
  if (named == nullptr || named->global->name != "ndarray") heap.fail("the pickle makes an array of another class");
  return heap.make(PickleEmptyArray{});
}

torch::Tensor pickle_array(PickleHeap& heap, const PickleValue& state) {
  const auto* parts = state.as<PickleSequence>();
  if (parts == nullptr || parts->items.size() != 5) heap.fail("an array's state is no tuple of 5");
  const auto& items = parts->items;
  const auto* type = items[2]->as<PickleNumpyType>();
  const auto* fortran = items[3]->as<bool>();
  const auto* bytes = items[4]->as<PickleBytes>();
  if (type == nullptr || fortran == nullptr || bytes == nullptr) heap.fail("an array's state is not what numpy writes");
  auto sizes = whole_numbers(heap, *items[1], "shape");
  const int64_t elements = product(heap, sizes);
  if (elements > static_cast<int64_t>(bytes->bytes.size())) {
    heap.fail(str("an array has ", elements, " elements, but ", bytes->bytes.size(), " bytes"));
  }
  if (*fortran) std::reverse(sizes.begin(), sizes.end());
  auto tensor = torch::empty(sizes, type->type);
  fill(heap, tensor, *type, bytes->bytes);
  if (!*fortran) return tensor;
  std::vector<int64_t> axes(sizes.size());
  for (size_t i = 0; i < axes.size(); ++i) axes[i] = static_cast<int64_t>(axes.size() - 1 - i);
  return tensor.permute(axes);
}

PickleRef pickle_numpy_scalar(PickleHeap& heap, const std::vector<PickleRef>& arguments) {
  const auto* type = arguments.size() != 2 ? nullptr : arguments[0]->as<PickleNumpyType>();
  const auto* bytes = arguments.size() != 2 ? nullptr : arguments[1]->as<PickleBytes>();
  if (type == nullptr || bytes == nullptr) heap.fail("a numpy number is not what numpy writes");
  auto tensor = torch::empty({1}, type->type);
  fill(heap, tensor, *type, bytes->bytes);
  if (type->type == torch::kBool) return heap.make(tensor.item<bool>());
  if (c10::isFloatingType(type->type)) return heap.make(tensor.to(torch::kFloat64).item<double>());
  if (type->type == torch::kUInt64 && (bytes->bytes[type->swapped ? 0 : 7] & 0x80) != 0) {
    heap.fail("a numpy number is beyond 2^63");
  }
  return heap.make(tensor.to(torch::kInt64).item<int64_t>());
}

}  // namespace lorikeet
