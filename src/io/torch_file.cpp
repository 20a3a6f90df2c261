#include "io/torch_file.h"

#include <fstream>
#include <memory>
#include <unordered_map>

#include "core/errors.h"
#include "core/text.h"
#include "io/file_mapping.h"
#include "io/zip_reader.h"

namespace lorikeet {
namespace {

// torch.save stores without packing; who packs such a file again gets at most so much out of it.
constexpr uint64_t kMaxUnpacking = 16;
// The largest element's; torch.save begins every storage at a multiple of 64.
constexpr uint64_t kMappedAlignment = 16;

/// What a file that is no zip file may be instead.
void check_begin(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return;  // ZipFile says what is wrong
  std::ifstream in(path, std::ios::binary);
  std::string begin(24, '\0');
  in.read(begin.data(), static_cast<std::streamsize>(begin.size()));
  begin.resize(static_cast<size_t>(in.gcount()));
  if (begin.starts_with("PK")) return;
  std::string hint;
  if (begin.starts_with("\x80\x02\x8a\x0al\xfc\x9c\x46"))
    hint = "it is of torch before 1.6: load and save it again with a newer one";
  if (begin.starts_with("version https://git-lfs")) hint = "this is a Git LFS pointer: run `git lfs pull`";
  throw FormatError(path.string() + " is no file of torch.save's: it is no zip file", hint);
}

/// The folder within the zip file that everything is in: the file's name when it was written.
std::string archive_folder(const ZipFile& zip, const std::string& file) {
  for (const auto& entry : zip.entries()) {
    const size_t slash = entry.name.find('/');
    if (slash != std::string::npos && entry.name.substr(slash) == "/data.pkl") return entry.name.substr(0, slash + 1);
  }
  throw FormatError(file + " is no file of torch.save's: it has no data.pkl");
}

std::string read_entry(const ZipFile& zip, const ZipEntry& entry, uint64_t limit, const std::string& file) {
  if (entry.bytes > limit) {
    throw FormatError(str(file, ": its entry ", shown_pickle_name(entry.name), " has ", entry.bytes, " bytes; at most ",
                          limit, " expected"));
  }
  std::string bytes(entry.bytes, '\0');
  zip.read(entry, bytes.data());
  return bytes;
}

/// Reads storages once each, however many tensors lie in one.
class Storages {
 public:
  /// With a `mapping` of the same file, storages that lie in it as they are become views of it.
  Storages(const ZipFile& zip, std::string folder, std::string file, std::shared_ptr<FileMapping> mapping)
      : zip_(zip),
        folder_(std::move(folder)),
        file_(std::move(file)),
        mapping_(std::move(mapping)),
        left_(kMaxUnpacking * zip.file_bytes()) {}

  torch::Tensor load(const std::string& key, int64_t bytes) {
    const auto found = loaded_.find(key);
    if (found != loaded_.end()) {
      check_size(key, found->second.numel(), bytes);
      return found->second;
    }
    const ZipEntry* entry = zip_.find(folder_ + "data/" + key);
    if (entry == nullptr) throw FormatError(str(file_, ": there is no storage ", shown_pickle_name(key)));
    check_size(key, static_cast<int64_t>(entry->bytes), bytes);
    if (entry->bytes > left_) {
      throw FormatError(str(file_, ": its tensors take more than ", kMaxUnpacking, " times the file's ",
                            zip_.file_bytes(), " bytes"));
    }
    left_ -= entry->bytes;
    auto tensor = mapped(*entry);
    if (!tensor.defined()) {
      tensor = torch::empty({bytes}, torch::kUInt8);
      zip_.read(*entry, static_cast<char*>(tensor.data_ptr()));
    }
    loaded_.emplace(key, tensor);
    return tensor;
  }

 private:
  /// Undefined where the entry has to be read: packed, at a place where its elements cannot be used, or empty.
  torch::Tensor mapped(const ZipEntry& entry) const {
    if (!mapping_ || entry.method != 0 || entry.bytes == 0) return {};
    const uint64_t offset = zip_.data_offset(entry);
    if (offset % kMappedAlignment != 0 || offset + entry.bytes > mapping_->size()) return {};
    return torch::from_blob(
        mapping_->bytes() + offset, {static_cast<int64_t>(entry.bytes)}, [keep = mapping_](void*) {}, torch::kUInt8);
  }

  void check_size(const std::string& key, int64_t there, int64_t expected) const {
    if (there == expected) return;
    throw FormatError(
        str(file_, ": storage ", shown_pickle_name(key), " has ", there, " bytes; its pickle says ", expected));
  }

  const ZipFile& zip_;
  std::string folder_, file_;
  std::shared_ptr<FileMapping> mapping_;
  uint64_t left_;
  std::unordered_map<std::string, torch::Tensor> loaded_;
};

}  // namespace

TorchFile::TorchFile(const std::filesystem::path& path, TorchStorages how) {
  check_begin(path);
  const std::string file = path.string();
  const ZipFile zip(path);
  const std::string folder = archive_folder(zip, file);
  if (const auto* order = zip.find(folder + "byteorder")) {
    const std::string text = read_entry(zip, *order, 64, file);
    if (text != "little") throw FormatError(str(file, ": its bytes are in ", shown_pickle_name(text), " order"));
  }
  const std::string pickle = read_entry(zip, *zip.find(folder + "data.pkl"), kMaxPickleBytes, file);
  const auto mapping = how == TorchStorages::kMapped ? std::make_shared<FileMapping>(path) : nullptr;
  Storages storages(zip, folder, file, mapping);
  document_ =
      read_pickle(pickle, file, [&](const std::string& key, int64_t bytes) { return storages.load(key, bytes); });
}

}  // namespace lorikeet
