// The JSON part of a safetensors file, checked field by field; torch's types, but no tensors.
#pragma once

#include <torch/types.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace lorikeet {

/// Longest header the format allows, in bytes.
inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;
// Far more than any file has. With them a header costs at most four times its bytes and 64 MB of memory, whatever it
// says, and no more than a second.
inline constexpr size_t kMaxSafetensorsTensors = 100'000;
inline constexpr size_t kMaxSafetensorsMetadata = 10'000;
inline constexpr size_t kMaxSafetensorsText = 16'000'000;  // bytes of one name or metadata value

struct SafetensorsDtype {
  std::string_view name;
  torch::ScalarType type;
  int64_t bytes;
};

/// Every element type of whole bytes, in the order in which the Python library lays tensors out.
inline constexpr std::array<SafetensorsDtype, 19> kSafetensorsDtypes{{
    {"U64", torch::kUInt64, 8},
    {"I64", torch::kInt64, 8},
    {"F64", torch::kFloat64, 8},
    {"C64", torch::kComplexFloat, 8},
    {"F32", torch::kFloat32, 4},
    {"U32", torch::kUInt32, 4},
    {"I32", torch::kInt32, 4},
    {"BF16", torch::kBFloat16, 2},
    {"F16", torch::kFloat16, 2},
    {"U16", torch::kUInt16, 2},
    {"I16", torch::kInt16, 2},
    {"F8_E5M2FNUZ", torch::kFloat8_e5m2fnuz, 1},
    {"F8_E4M3FNUZ", torch::kFloat8_e4m3fnuz, 1},
    {"F8_E8M0", torch::kFloat8_e8m0fnu, 1},
    {"F8_E4M3", torch::kFloat8_e4m3fn, 1},
    {"F8_E5M2", torch::kFloat8_e5m2, 1},
    {"I8", torch::kInt8, 1},
    {"U8", torch::kUInt8, 1},
    {"BOOL", torch::kBool, 1},
}};

struct SafetensorsEntry {
  std::string name;
  const SafetensorsDtype* dtype = nullptr;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // bytes, counted from the end of the header
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // by begin
  std::map<std::string, std::string> metadata;
};

/// Reads the header of a file whose tensors fill `data_bytes` bytes. `file` is for messages.
/// Throws FormatError; see SafetensorsFile::open, and for what is beyond the limits above.
SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t data_bytes, const std::string& file);

/// A tensor's name for a message: quoted, control characters escaped, long ones cut.
std::string quoted_tensor_name(std::string_view name);

}  // namespace lorikeet
