#include "io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/text.h"
#include "io/file_mapping.h"
#include "io/safetensors_header.h"

namespace lorikeet {

static_assert(std::endian::native == std::endian::little, "safetensors bytes are little-endian and used in place");

namespace {

/// What a file that is no safetensors file may be instead.
std::string other_format_hint(std::string_view bytes) {
  if (bytes.starts_with("version https://git-lfs")) return "this is a Git LFS pointer: run `git lfs pull`";
  if (bytes.starts_with("PK\x03\x04") || bytes.starts_with("\x80\x02")) {
    return "this looks like a torch pickle: give it the ending .bin, .ckpt or .pt";
  }
  return "";
}

std::string_view header_json(std::string_view bytes, const std::string& file) {
  if (bytes.size() < 8) {
    throw FormatError(str(file, ": ", bytes.size(), " bytes; a safetensors file has at least 8"));
  }
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > kMaxSafetensorsHeader) {
    throw FormatError(
        str(file, ": its header says it has ", length, " bytes; at most ", kMaxSafetensorsHeader, " expected"),
        other_format_hint(bytes));
  }
  if (length > bytes.size() - 8) {
    throw FormatError(
        str(file, ": its header says it has ", length, " bytes, but only ", bytes.size() - 8, " are there"),
        "the file is probably cut short: copy or download it again");
  }
  return bytes.substr(8, length);
}

const SafetensorsDtype& dtype_of(const torch::Tensor& tensor, const std::string& name) {
  const auto found = std::find_if(kSafetensorsDtypes.begin(), kSafetensorsDtypes.end(),
                                  [&](const SafetensorsDtype& dtype) { return dtype.type == tensor.scalar_type(); });
  if (found == kSafetensorsDtypes.end()) {
    throw FormatError(str("tensor ", quoted_tensor_name(name), " has the dtype ", c10::toString(tensor.scalar_type()),
                          ", which safetensors files cannot hold"));
  }
  return *found;
}

std::string json_text(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw FormatError(str(quoted_tensor_name(text), " is not UTF-8; names and metadata of safetensors files must be"));
  }
}

struct Planned {
  const std::string* name;
  const torch::Tensor* tensor;
  const SafetensorsDtype* dtype;
};

std::vector<Planned> plan_layout(const NamedTensors& tensors) {
  std::vector<Planned> plan;
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.defined()) throw FormatError(str("tensor ", quoted_tensor_name(name), " has no value"));
    if (name == "__metadata__") throw FormatError("a tensor cannot be named '__metadata__' in a safetensors file");
    plan.push_back({&name, &tensor, &dtype_of(tensor, name)});
  }
  std::sort(plan.begin(), plan.end(), [](const Planned& left, const Planned& right) {
    return std::tie(left.dtype, *left.name) < std::tie(right.dtype, *right.name);
  });
  std::vector<std::string> names;
  for (const auto& planned : plan) names.push_back(*planned.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) throw FormatError(str("tensor ", quoted_tensor_name(*twice), " is there twice"));
  return plan;
}

std::string header_text(const std::vector<Planned>& plan, const std::map<std::string, std::string>& metadata) {
  std::string json = "{";
  if (!metadata.empty()) {
    json += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      json += str(json.back() == '{' ? "" : ",", json_text(key), ":", json_text(value));
    }
    json += "}";
  }
  int64_t offset = 0;
  for (const auto& [name, tensor, dtype] : plan) {
    json += str(json.size() > 1 ? "," : "", json_text(*name), ":{\"dtype\":\"", dtype->name, "\",\"shape\":[");
    for (int64_t axis = 0; axis < tensor->dim(); ++axis) json += str(axis > 0 ? "," : "", tensor->size(axis));
    const int64_t end = offset + tensor->numel() * dtype->bytes;
    json += str("],\"data_offsets\":[", offset, ",", end, "]}");
    offset = end;
  }
  json += "}";
  json.resize((json.size() + 7) / 8 * 8, ' ');
  return json;
}

}  // namespace

struct SafetensorsFile::Contents {
  explicit Contents(const std::filesystem::path& file) : path(file), mapping(file) {}

  const SafetensorsEntry& entry(const std::string& name) const {
    const auto found = index.find(name);
    if (found == index.end()) {
      throw FormatError(str(path.string(), ": no tensor ", quoted_tensor_name(name), " among its ", names.size()));
    }
    return header.entries[found->second];
  }

  std::filesystem::path path;
  FileMapping mapping;
  SafetensorsHeader header;
  char* data = nullptr;
  std::vector<std::string> names;
  std::unordered_map<std::string, size_t> index;
};

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  auto contents = std::make_shared<Contents>(path);
  const std::string_view bytes(contents->mapping.bytes(), contents->mapping.size());
  const std::string_view json = header_json(bytes, path.string());
  const uint64_t data_bytes = bytes.size() - 8 - json.size();
  contents->header = parse_safetensors_header(json, data_bytes, path.string());
  contents->data = contents->mapping.bytes() + 8 + json.size();
  for (const auto& entry : contents->header.entries) {
    contents->index.emplace(entry.name, contents->names.size());
    contents->names.push_back(entry.name);
  }
  return SafetensorsFile(std::move(contents));
}

const std::filesystem::path& SafetensorsFile::path() const { return contents_->path; }

const std::vector<std::string>& SafetensorsFile::names() const { return contents_->names; }

bool SafetensorsFile::contains(const std::string& name) const { return contents_->index.contains(name); }

torch::Tensor SafetensorsFile::tensor(const std::string& name) const {
  const SafetensorsEntry& entry = contents_->entry(name);
  char* bytes = contents_->data + entry.begin;
  const size_t count = entry.end - entry.begin;
  const torch::ScalarType type = entry.dtype->type;
  // A bool that is neither 0 nor 1 would be undefined behaviour for whoever reads it.
  const bool wild_bool = type == torch::kBool && std::any_of(bytes, bytes + count, [](char c) { return c & ~1; });
  const bool aligned = reinterpret_cast<uintptr_t>(bytes) % static_cast<size_t>(entry.dtype->bytes) == 0;
  if (count > 0 && aligned && !wild_bool) {
    return torch::from_blob(
        bytes, entry.shape, [keep = contents_](void*) {}, torch::TensorOptions(type));
  }
  torch::Tensor copy = torch::empty(entry.shape, torch::TensorOptions(type));
  char* target = static_cast<char*>(copy.data_ptr());
  if (wild_bool) {
    std::transform(bytes, bytes + count, target, [](char c) { return static_cast<char>(c != 0); });
  } else if (count > 0) {
    std::memcpy(target, bytes, count);
  }
  return copy;
}

std::vector<int64_t> SafetensorsFile::shape(const std::string& name) const { return contents_->entry(name).shape; }

torch::ScalarType SafetensorsFile::dtype(const std::string& name) const { return contents_->entry(name).dtype->type; }

const std::map<std::string, std::string>& SafetensorsFile::metadata() const { return contents_->header.metadata; }

namespace {

/// Hands the file's bytes to `take(data, size)`, piece by piece.
template <class Take>
void lay_out(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata, Take take) {
  const std::vector<Planned> plan = plan_layout(tensors);
  const std::string header = header_text(plan, metadata);
  const uint64_t length = header.size();
  if (length > kMaxSafetensorsHeader) {
    throw FormatError(str("a safetensors header of ", length, " bytes; at most ", kMaxSafetensorsHeader, " expected"));
  }
  take(&length, sizeof length);
  take(header.data(), header.size());
  for (const auto& planned : plan) {
    const torch::Tensor plain = planned.tensor->detach().resolve_conj().resolve_neg().to(torch::kCPU).contiguous();
    take(plain.data_ptr(), plain.nbytes());
  }
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  AtomicFile file(path);
  lay_out(tensors, metadata, [&](const void* data, size_t size) { file.write(data, size); });
  file.commit();
}

std::string safetensors_bytes(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata) {
  std::string bytes;
  lay_out(tensors, metadata,
          [&](const void* data, size_t size) { bytes.append(static_cast<const char*>(data), size); });
  return bytes;
}

}  // namespace lorikeet
