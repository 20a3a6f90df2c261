#include <algorithm>
#include <cstring>
#include <limits>

#include "core/text.h"
#include "io/torch_file_test_support.h"
#include "io/zip_reader.h"
#include "lora/lora_fuzz_support.h"

namespace lorikeet {
namespace {

/// Bytes of an operation's argument: its number, or -n for one that follows its length in n bytes.
int argument_bytes(unsigned char code) {
  if (std::memchr("Kqh\x80\x82", code, 5) != nullptr) return 1;
  if (std::memchr("M\x83", code, 2) != nullptr) return 2;
  if (std::memchr("Jrj\x84", code, 4) != nullptr) return 4;
  if (std::memchr("G\x95", code, 2) != nullptr) return 8;
  if (std::memchr("U\x8a\x8c"
                  "C",
                  code, 4) != nullptr)
    return -1;
  if (std::memchr("XBT\x8b", code, 4) != nullptr) return -4;
  return std::memchr("\x8d\x8e\x96", code, 3) != nullptr ? -8 : 0;
}

size_t operation_bytes(std::string_view rest) {
  const auto code = static_cast<unsigned char>(rest[0]);
  if (code == 'c') return rest.find('\n', rest.find('\n') + 1) + 1;
  const int argument = argument_bytes(code);
  if (argument >= 0) return 1 + static_cast<size_t>(argument);
  uint64_t length = 0;
  std::memcpy(&length, rest.data() + 1, static_cast<size_t>(-argument));
  return 1 + static_cast<size_t>(-argument) + length;
}

using Operations = std::vector<std::string>;

/// What torch.save wrote, operation by operation.
Operations operations_of(const std::string& pickle) {
  Operations operations;
  for (size_t at = 0; at < pickle.size();) {
    operations.push_back(pickle.substr(at, operation_bytes(std::string_view(pickle).substr(at))));
    at += operations.back().size();
  }
  return operations;
}

/// Runs `command` where Python loads it; the stack is as before afterwards.
std::string hostile_call(const std::string& command, FuzzRandom& random) {
  const std::string argument = pickled(command), tuple = argument + "\x85";
  const std::string python = pickled("__import__('os').system('" + command + "')") + "\x85";
  switch (random.below(12)) {
    case 0:
      return global_of("os", "system") + tuple + "R0";
    case 1:
      return global_of("posix", "system") + tuple + "R0";
    case 2:
      return pickled("os") + pickled("system") + "\x93" + tuple + "R0";
    case 3:
      return lorikeet::str("(", argument, "ios\nsystem\n0");
    case 4:
      return lorikeet::str("(", global_of("os", "system"), argument, "o0");
    case 5:
      return global_of("subprocess", "Popen") + tuple +
             "\x81"
             "0";
    case 6:
      return global_of("builtins", "eval") + python + "R0";
    case 7:
      return global_of("__builtin__", "exec") + python + "R0";
    case 8:
      return global_of("torch._utils", "_rebuild_tensor_v2") + tuple + "R0";
    case 9:
      return global_of("collections", "OrderedDict") + ")R}" + pickled("__reduce__") + global_of("os", "system") +
             "sb0";
    case 10:
      return global_of("torch", "load") + tuple + "R0";
    default:
      return lorikeet::str(global_of("runpy", "_run_code"), pickled("x"), "}\x86R0");
  }
}

std::string wild_operation(FuzzRandom& random) {
  static const std::vector<std::string> kOperations{"N",
                                                    "\x88",
                                                    ")",
                                                    "]",
                                                    "}",
                                                    "(",
                                                    "t",
                                                    "l",
                                                    "d",
                                                    "0",
                                                    "1",
                                                    "2",
                                                    "a",
                                                    "e",
                                                    "s",
                                                    "u",
                                                    "R",
                                                    "b",
                                                    "Q",
                                                    "\x85",
                                                    "\x86",
                                                    "\x87",
                                                    "\x8f",
                                                    "\x90",
                                                    "\x91",
                                                    "\x94",
                                                    ".",
                                                    "h\1",
                                                    "q\1",
                                                    std::string("\x82\0", 2),
                                                    "X\xff\xff\xff\xff",
                                                    "\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",
                                                    "\x96\xff\xff\xff\xff\xff\xff\xff\xff",
                                                    "r\xff\xff\xff\xff",
                                                    "j\xff\xff\xff\xff",
                                                    global_of("torch", "Size"),
                                                    global_of("torch", "BoolStorage"),
                                                    global_of("torch", "float8_e5m2"),
                                                    global_of("numpy", "dtype"),
                                                    global_of("collections", "OrderedDict"),
                                                    global_of("_codecs", "encode"),
                                                    tensor_of(24, 0, 2147483647, 0),
                                                    tensor_of(24, 0, 2147483647, 2147483647),
                                                    tensor_of(12, -1, 2, 1),
                                                    storage_of("BoolStorage", "0", 96),
                                                    storage_of("FloatStorage", "../../x", 12)};
  return random.pick(kOperations);
}

bool is_integer(const std::string& operation) {
  return !operation.empty() && std::memchr("KMJ\x8a", operation[0], 4) != nullptr;
}

std::string wild_integer(FuzzRandom& random) {
  constexpr int64_t kNumbers[] = {0,
                                  1,
                                  2,
                                  3,
                                  6,
                                  12,
                                  64,
                                  -1,
                                  65536,
                                  2147483647,
                                  int64_t{1} << 40,
                                  int64_t{1} << 62,
                                  std::numeric_limits<int64_t>::max(),
                                  std::numeric_limits<int64_t>::min()};
  return "\x8a\x08" + little(static_cast<uint64_t>(random.pick(kNumbers)), 8);
}

void change(Operations& operations, const std::string& command, FuzzRandom& random) {
  // The first two are the begin of every pickle: PROTO, and what the rest goes into.
  const size_t at = std::min(operations.size() - 1, 2 + random.below(operations.size()));
  const auto place = operations.begin() + static_cast<std::ptrdiff_t>(at);
  switch (random.below(9)) {
    case 0:
      operations.insert(place, hostile_call(command, random));
      break;
    case 1:
      operations.insert(place, wild_operation(random));
      break;
    case 2:
      *place = wild_operation(random);
      break;
    case 3:
      operations.erase(place);
      break;
    case 4:
      operations.insert(place, operations[random.below(operations.size())]);
      break;
    case 5:
      damage_bytes(*place, random);
      break;
    case 6:
      operations.resize(at);
      break;
    default: {  // sizes, strides, places and counts: where reaching too far begins
      const auto found = std::find_if(place, operations.end(), is_integer);
      if (found != operations.end()) *found = wild_integer(random);
    }
  }
}

void damage_storage(std::string& bytes, FuzzRandom& random) {
  if (random.one_in(4)) bytes.resize(random.below(2 * bytes.size() + 1));
  for (size_t flips = 1 + random.below(4); flips > 0 && !bytes.empty(); --flips) {
    bytes[random.below(bytes.size())] ^= static_cast<char>(1 << random.below(8));
  }
}

}  // namespace

FuzzEntries read_fuzz_entries(const std::filesystem::path& path) {
  const ZipFile zip(path);
  FuzzEntries entries;
  for (const auto& entry : zip.entries()) {
    entries.emplace_back(entry.name, std::string(entry.bytes, '\0'));
    zip.read(entry, entries.back().second.data());
  }
  return entries;
}

std::string damaged_torch_file(FuzzEntries entries, const std::string& command, FuzzRandom& random) {
  const size_t kind = random.below(8);
  for (auto& [name, bytes] : entries) {
    if (kind == 0) break;
    if (kind < 3 && name.find("/data/") != std::string::npos && random.one_in(4)) damage_storage(bytes, random);
    if (kind < 3 || !name.ends_with("data.pkl")) continue;
    auto operations = operations_of(bytes);
    for (size_t changes = 1 + random.below(3); changes > 0 && operations.size() > 3; --changes) {
      change(operations, command, random);
    }
    bytes.clear();
    for (const auto& operation : operations) bytes += operation;
  }
  auto bytes = zip_bytes(entries);
  if (kind != 0) return bytes;
  if (random.one_in(3)) return bytes.substr(0, random.below(bytes.size()));
  const size_t directory = bytes.find("PK\1\2");
  for (size_t changes = 1 + random.below(4); changes > 0; --changes) {
    const size_t at =
        random.one_in(2) ? directory + random.below(bytes.size() - directory) : random.below(bytes.size());
    bytes[at] = static_cast<char>(random.one_in(3) ? 0xff : random.below(256));
  }
  return bytes;
}

}  // namespace lorikeet
