// The names that a pickle may mention, each with what stands for calling it. This list is the whole of what a pickle
// can do.
#include <algorithm>
#include <array>
#include <limits>

#include "core/errors.h"
#include "core/text.h"
#include "io/pickle_arrays.h"
#include "io/pickle_heap.h"

namespace lorikeet {
namespace {

using Arguments = std::vector<PickleRef>;

PickleRef copied_items(PickleHeap& heap, const Arguments& arguments) {
  const auto* items = arguments.empty() ? nullptr : arguments[0]->as<PickleSequence>();
  if (arguments.size() != 1 || items == nullptr)
    heap.fail("the pickle makes a set or size of something that is no list");
  heap.charge(items->items.size() * sizeof(void*));
  return heap.make(PickleSequence{items->items});
}

/// OrderedDict(), defaultdict(factory)
PickleRef empty_dict(PickleHeap& heap, const Arguments& arguments) {
  if (arguments.size() > 1) heap.fail("the pickle makes a dict with contents; expected an empty one, filled later");
  return heap.make(PickleDict{});
}

PickleRef empty_bytes(PickleHeap& heap, const Arguments& arguments) {
  if (!arguments.empty()) heap.fail("the pickle makes bytes of something; expected empty ones");
  return heap.make(PickleBytes{});
}

/// torch.device("cuda", 1), as the text "cuda:1".
PickleRef device_name(PickleHeap& heap, const Arguments& arguments) {
  const auto* kind = arguments.empty() ? nullptr : arguments[0]->as<std::string>();
  const auto* index = arguments.size() < 2 ? nullptr : arguments[1]->as<int64_t>();
  if (kind == nullptr || kind->size() > 40) heap.fail("the pickle makes a device of something that is no name");
  return heap.make(index == nullptr ? *kind : str(*kind, ":", *index));
}

/// _codecs.encode(text, "latin1"): how protocol 2 writes bytes.
PickleRef latin1_bytes(PickleHeap& heap, const Arguments& arguments) {
  const auto* text = arguments.empty() ? nullptr : arguments[0]->as<std::string>();
  const auto* codec = arguments.size() == 2 ? arguments[1]->as<std::string>() : nullptr;
  if (text == nullptr || codec == nullptr || (*codec != "latin1" && *codec != "latin-1")) {
    heap.fail("the pickle wants to encode text otherwise than as latin1, which is refused");
  }
  heap.charge(text->size());
  std::string bytes;
  for (size_t i = 0; i < text->size(); ++i) {
    auto byte = static_cast<unsigned char>((*text)[i]);
    if (byte >= 0x80) {
      if (byte > 0xc3 || i + 1 == text->size()) heap.fail("the pickle holds bytes beyond latin1");
      byte = static_cast<unsigned char>(byte << 6 | (static_cast<unsigned char>((*text)[++i]) & 0x3f));
    }
    bytes += static_cast<char>(byte);
  }
  return heap.make(PickleBytes{std::move(bytes)});
}

constexpr AllowedGlobal storage_class(std::string_view name, torch::ScalarType type) {
  return {"torch", name, nullptr, type};
}

const auto kGlobals = std::to_array<AllowedGlobal>({
    {"collections", "OrderedDict", empty_dict},
    {"collections", "defaultdict", empty_dict},
    {"__builtin__", "set", copied_items},
    {"__builtin__", "frozenset", copied_items},
    {"__builtin__", "bytes", empty_bytes},
    {"__builtin__", "dict"},  // as a defaultdict's factory
    {"__builtin__", "list"},
    {"pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"},  // a dict's key in Stable Diffusion's .ckpt
    {"_codecs", "encode", latin1_bytes},
    {"torch", "Size", copied_items},
    {"torch", "device", device_name},
    {"torch._utils", "_rebuild_tensor", pickle_tensor},
    {"torch._utils", "_rebuild_tensor_v2", pickle_tensor},
    {"torch._utils", "_rebuild_tensor_v3", pickle_tensor},
    {"torch._utils", "_rebuild_parameter", pickle_parameter},
    {"numpy._core.multiarray", "_reconstruct", pickle_empty_array},
    {"numpy._core.multiarray", "scalar", pickle_numpy_scalar},
    {"numpy", "ndarray"},
    {"numpy", "dtype", pickle_numpy_type},
    storage_class("DoubleStorage", torch::kFloat64),
    storage_class("FloatStorage", torch::kFloat32),
    storage_class("HalfStorage", torch::kFloat16),
    storage_class("BFloat16Storage", torch::kBFloat16),
    storage_class("LongStorage", torch::kInt64),
    storage_class("IntStorage", torch::kInt32),
    storage_class("ShortStorage", torch::kInt16),
    storage_class("CharStorage", torch::kInt8),
    storage_class("ByteStorage", torch::kUInt8),
    storage_class("BoolStorage", torch::kBool),
    storage_class("ComplexFloatStorage", torch::kComplexFloat),
    storage_class("ComplexDoubleStorage", torch::kComplexDouble),
    {"torch.storage", "UntypedStorage", nullptr, torch::kUInt8},
    {"torch", "float64", nullptr, torch::kFloat64},
    {"torch", "float32", nullptr, torch::kFloat32},
    {"torch", "float16", nullptr, torch::kFloat16},
    {"torch", "bfloat16", nullptr, torch::kBFloat16},
    {"torch", "int64", nullptr, torch::kInt64},
    {"torch", "int32", nullptr, torch::kInt32},
    {"torch", "int16", nullptr, torch::kInt16},
    {"torch", "int8", nullptr, torch::kInt8},
    {"torch", "uint64", nullptr, torch::kUInt64},
    {"torch", "uint32", nullptr, torch::kUInt32},
    {"torch", "uint16", nullptr, torch::kUInt16},
    {"torch", "uint8", nullptr, torch::kUInt8},
    {"torch", "bool", nullptr, torch::kBool},
    {"torch", "float8_e4m3fn", nullptr, torch::kFloat8_e4m3fn},
    {"torch", "float8_e5m2", nullptr, torch::kFloat8_e5m2},
    {"torch", "complex64", nullptr, torch::kComplexFloat},
});

/// Modules that were renamed: the old name, the one above.
constexpr std::array<std::pair<std::string_view, std::string_view>, 2> kRenamed{
    {{"builtins", "__builtin__"}, {"numpy.core.multiarray", "numpy._core.multiarray"}}};

}  // namespace

std::string shown_pickle_name(std::string_view name) {
  constexpr size_t kLongest = 80;
  std::string text(name.substr(0, kLongest));
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return name.size() > kLongest ? text + "..." : text;
}

void PickleHeap::fail(const std::string& what) const {
  throw FormatError(file_ + ": " + what, "only files of plain data and tensors are read, as torch.save writes them");
}

PickleRef pickle_global(PickleHeap& heap, std::string_view module, std::string_view name) {
  std::string_view known = module;
  for (const auto& [old, now] : kRenamed) {
    if (module == old) known = now;
  }
  for (const auto& global : kGlobals) {
    if (global.module == known && global.name == name) return heap.make(PickleGlobal{&global});
  }
  heap.fail(
      str("the pickle wants to call ", shown_pickle_name(module), ".", shown_pickle_name(name), ", which is refused"));
}

PickleRef pickle_call(PickleHeap& heap, const PickleValue& callable, const PickleValue& arguments) {
  const auto* named = callable.as<PickleGlobal>();
  const auto* list = arguments.as<PickleSequence>();
  if (named == nullptr) heap.fail(str("the pickle wants to call ", callable.kind(), ", which is refused"));
  if (list == nullptr) heap.fail(str("the pickle calls with ", arguments.kind(), "; expected a tuple"));
  if (named->global->call == nullptr) {
    heap.fail(str("the pickle wants to call ", named->global->module, ".", named->global->name, ", which is refused"));
  }
  return named->global->call(heap, list->items);
}

void pickle_set_state(PickleHeap& heap, PickleValue& object, const PickleValue& state) {
  if (object.as<PickleEmptyArray>() != nullptr) {
    object.data = pickle_array(heap, state);
  } else if (auto* type = object.as<PickleNumpyType>()) {
    type->swapped = pickle_is_swapped(heap, state);
  } else if (object.as<PickleDict>() == nullptr || state.as<PickleDict>() == nullptr) {
    heap.fail(str("the pickle wants to set the state of ", object.kind(), ", which is refused"));
  }
  // An OrderedDict's own attributes (torch's _metadata) are no part of what it holds.
}

}  // namespace lorikeet
