#include "training/encode_store.h"

#include "core/digest.h"
#include "core/errors.h"
#include "core/text.h"
#include "io/safetensors.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

constexpr const char* kChecksum = "sha256";

std::string_view bytes_of(const torch::Tensor& tensor) {
  return {static_cast<const char*>(tensor.data_ptr()), tensor.nbytes()};
}

/// Over the key, values, shapes and dtypes: a file in another's place is as good as damaged.
torch::Tensor checksum(const std::string& key, const std::vector<torch::Tensor>& tensors) {
  std::string digests = lorikeet::str(key, "\n");
  for (const auto& tensor : tensors) {
    digests += lorikeet::str(tensor.sizes(), tensor.scalar_type(), sha256_hex(bytes_of(tensor)));
  }
  const auto digest = sha256_hex(digests);
  return torch::from_blob(const_cast<char*>(digest.data()), {static_cast<int64_t>(digest.size())}, torch::kByte)
      .clone();
}

}  // namespace

EncodeStore::EncodeStore(const fs::path& folder, const std::string& kind, const std::string& fingerprint)
    : folder_(folder / (kind + "-" + fingerprint.substr(0, 16))) {}

fs::path EncodeStore::file_of(const std::string& key) const {
  const auto digest = sha256_hex(key);
  return folder_ / digest.substr(0, 2) / (digest.substr(2) + ".safetensors");
}

std::optional<std::vector<torch::Tensor>> EncodeStore::load(const std::string& key) const {
  const auto path = file_of(key);
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return std::nullopt;
  try {
    const auto file = SafetensorsFile::open(path);
    std::vector<torch::Tensor> tensors;
    for (size_t i = 0; i + 1 < file.names().size(); ++i) {
      tensors.push_back(file.tensor(lorikeet::str(i)).clone());
    }
    const auto saved = file.tensor(kChecksum);
    if (saved.scalar_type() != torch::kByte || !torch::equal(saved, checksum(key, tensors))) return std::nullopt;
    return tensors;
  } catch (const Error&) {
    return std::nullopt;
  }
}

void EncodeStore::save(const std::string& key, const std::vector<torch::Tensor>& tensors) const {
  const auto path = file_of(key);
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) {
    throw FileError(lorikeet::str("cannot create ", path.parent_path().string(), ": ", error.message()),
                    "name a --cache_dir that you may write to, or use --encode_memory=memory");
  }
  NamedTensors named;
  std::vector<torch::Tensor> plain;
  for (const auto& tensor : tensors) {
    plain.push_back(tensor.detach().cpu().contiguous());
    named.emplace_back(lorikeet::str(named.size()), plain.back());
  }
  named.emplace_back(kChecksum, checksum(key, plain));
  write_safetensors(path, named);
}

std::string model_fingerprint(const torch::nn::Module& module) {
  std::string digests;
  for (const auto& item : module.named_parameters()) {
    const auto value = item.value().detach().cpu().contiguous();
    digests += lorikeet::str(item.key(), value.scalar_type(), sha256_hex(bytes_of(value)));
  }
  const auto parameters = module.parameters();
  if (!parameters.empty()) digests += parameters.front().device().is_cpu() ? "cpu" : "cuda";
  return sha256_hex(digests);
}

}  // namespace lorikeet
