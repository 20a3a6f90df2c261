#include "lora/formats/lora_contents.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>

#include "core/errors.h"
#include "core/text.h"
#include "io/safetensors_header.h"
#include "io/torch_file.h"

namespace lorikeet {
namespace {

// float32 out of eight-bit numbers, packed as tightly as torch_file.h takes it, with the small change of small files.
constexpr int64_t kMostGrowth = 16;
constexpr int64_t kSmallChange = 1 << 20;
// Three times what LyCORIS makes of all layers of SDXL. A tensor takes far more memory than its line in a header.
constexpr size_t kMostTensors = 30'000;

void check_count(const std::filesystem::path& path, size_t count) {
  if (count <= kMostTensors) return;
  throw FormatError(
      lorikeet::str(path.string(), ": it has ", count, " entries; at most ", kMostTensors, " expected of a LoRA"));
}

/// Opening a pipe would wait for somebody to write into it.
void check_regular(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status) || std::filesystem::is_regular_file(status)) return;  // or opening says more
  throw FileError(lorikeet::str("cannot read ", path.string(), ": it is no regular file"));
}

bool is_torch_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::array<char, 4> begin{};
  in.read(begin.data(), begin.size());
  if (in.gcount() == 4 && std::memcmp(begin.data(), "PK\x03\x04", 4) == 0) return true;
  const auto extension = path.extension();
  return extension == ".pt" || extension == ".bin" || extension == ".ckpt" || extension == ".pth";
}

void add_entry(LoraContents& contents, const std::string& key, const PickleValue& value) {
  if (const auto* tensor = value.as<torch::Tensor>()) {
    contents.tensors.emplace_back(key, *tensor);
  } else if (const auto* text = value.as<std::string>()) {
    contents.metadata.emplace(key, *text);
  } else if (const auto* integer = value.as<int64_t>()) {
    contents.metadata.emplace(key, lorikeet::str(*integer));
  } else if (!value.is_none() && key != "string_to_token") {
    contents.unused.push_back({key, "it is " + value.kind() + ", no tensor"});
  }
}

void add_dict(const std::filesystem::path& path, LoraContents& contents, const PickleDict& dict,
              const std::string& prefix) {
  check_count(path, contents.tensors.size() + dict.items.size());
  for (const auto& [key, value] : dict.items) {
    const auto* name = key->as<std::string>();
    if (name == nullptr) {
      contents.unused.push_back({prefix + "(" + key->kind() + ")", "its key is no text"});
    } else if (const auto* inner = value->as<PickleDict>(); inner != nullptr && *name == "string_to_param") {
      if (prefix.empty()) add_dict(path, contents, *inner, "string_to_param.");
    } else {
      add_entry(contents, prefix + *name, *value);
    }
  }
}

LoraContents open_torch_contents(const std::filesystem::path& path) {
  LoraContents contents;
  const TorchFile file(path);
  const PickleValue* root = &file.root();
  if (const auto* inner = root->find("state_dict"); inner != nullptr && inner->as<PickleDict>() != nullptr)
    root = inner;
  if (const auto* sequence = root->as<PickleSequence>()) {
    contents.is_list = true;
    check_count(path, sequence->items.size());
    for (const auto& item : sequence->items) {
      contents.list.push_back(item->tensor(lorikeet::str(path.string(), ": item ", contents.list.size())));
    }
  } else {
    add_dict(path, contents, root->dict(path.string()), "");
  }
  return contents;
}

/// Whether no exponent is that of infinities and NaNs. Simpler than torch's isfinite, which makes a tensor of answers.
bool all_finite(const torch::Tensor& values) {
  const auto* numbers = static_cast<const char*>(values.const_data_ptr());
  uint32_t wild = 0;
  for (int64_t i = 0; i < values.numel(); ++i) {
    uint32_t bits = 0;
    std::memcpy(&bits, numbers + i * 4, 4);
    wild |= (bits & 0x7f800000u) == 0x7f800000u;
  }
  return wild == 0;
}

}  // namespace

std::filesystem::path find_lora_file(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return path;
  const char* const names[] = {kLoraFileName, "pytorch_lora_weights.bin", "adapter_model.safetensors",
                               "adapter_model.bin"};
  for (const char* name : names) {
    if (std::filesystem::exists(path / name, error)) return path / name;
  }
  throw FileError(
      lorikeet::str("there is no LoRA in the folder ", path.string()),
      lorikeet::str("expected ", kLoraFileName, " in it; name the file itself when it is called otherwise"));
}

LoraContents open_lora_contents(const std::filesystem::path& path) {
  check_regular(path);
  if (is_torch_file(path)) return open_torch_contents(path);
  const auto file = SafetensorsFile::open(path);
  check_count(path, file.names().size());
  LoraContents contents;
  contents.metadata = file.metadata();
  for (const auto& name : file.names()) contents.tensors.emplace_back(name, file.tensor(name));
  return contents;
}

FactorReader::FactorReader(std::filesystem::path path) : path_(std::move(path)) {
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path_, error);
  bytes_left_ = kSmallChange + (error ? 0 : kMostGrowth * static_cast<int64_t>(bytes));
}

torch::Tensor FactorReader::read(const std::string& key, const torch::Tensor& tensor) {
  if (!tensor.is_floating_point()) {
    fail(key, lorikeet::str("has the type ", tensor.scalar_type(), ", a floating-point type expected"));
  }
  if (tensor.numel() == 0) fail(key, lorikeet::str("has the shape ", tensor.sizes(), ", which holds no number"));
  int64_t bytes = 0;
  if (__builtin_mul_overflow(tensor.numel(), int64_t{4}, &bytes) || bytes > bytes_left_) {
    fail(key, lorikeet::str("has the shape ", tensor.sizes(), "; all tensors together take more than ", kMostGrowth,
                            " times the bytes of the file"));
  }
  bytes_left_ -= bytes;
  auto values = tensor.detach().to(torch::kFloat).contiguous();
  if (!all_finite(values)) {
    fail(key, "holds values that are not finite",
         "its training went wrong, or the file is damaged: use an earlier checkpoint or another file");
  }
  return values;
}

double FactorReader::number(const std::string& key, const torch::Tensor& tensor) const {
  if (tensor.numel() != 1 || tensor.is_complex() || tensor.scalar_type() == torch::kBool) {
    fail(key, lorikeet::str("has the type ", tensor.scalar_type(), " and the shape ", tensor.sizes(),
                            ", one number expected"));
  }
  const double value = tensor.detach().to(torch::kDouble).item<double>();
  // Other programs keep it in float32.
  if (!(std::abs(value) <= std::numeric_limits<float>::max())) {
    fail(key, lorikeet::str("is ", value, ", a finite number expected"));
  }
  return value;
}

void FactorReader::fail(const std::string& key, const std::string& what, const std::string& hint) const {
  throw FormatError(lorikeet::str(path_.string(), ": ", quoted_tensor_name(key), " ", what), hint);
}

}  // namespace lorikeet
