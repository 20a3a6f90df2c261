#include "io/weights_file.h"

#include <fstream>
#include <set>

#include "core/errors.h"
#include "core/text.h"
#include "io/safetensors.h"
#include "io/torch_file.h"

namespace lorikeet {
namespace {

class SafetensorsSource : public WeightSource {
 public:
  explicit SafetensorsSource(SafetensorsFile file) : file_(std::move(file)) {}
  std::vector<std::string> names() const override { return file_.names(); }
  bool contains(const std::string& name) const override { return file_.contains(name); }
  torch::Tensor tensor(const std::string& name) const override { return file_.tensor(name); }
  std::string description() const override { return file_.path().string(); }

 private:
  SafetensorsFile file_;
};

/// What a file is shows in its first bytes; its name decides only where they say nothing.
bool is_torch_file(const std::filesystem::path& path) {
  char begin[2] = {};
  std::error_code error;
  if (std::filesystem::is_regular_file(path, error)) {  // opening a pipe would wait for a writer
    std::ifstream(path, std::ios::binary).read(begin, sizeof begin);
  }
  if (begin[0] == 'P' && begin[1] == 'K') return true;
  const std::string extension = path.extension().string();
  return extension == ".ckpt" || extension == ".bin" || extension == ".pt" || extension == ".pth";
}

WeightsFile open_torch_file(const std::filesystem::path& path) {
  const TorchFile file(path, TorchStorages::kMapped);
  const std::string where = path.string();
  WeightsFile opened;
  const PickleValue* dict = &file.root();
  if (const auto* step = dict->find("global_step"); step != nullptr) {
    if (const auto* number = step->as<int64_t>()) opened.global_step = *number;
  }
  // A pickle can hold itself; real files nest once.
  constexpr int kMaxNesting = 8;
  for (int depth = 0; depth < kMaxNesting; ++depth) {
    const auto* inner = dict->find("state_dict");
    if (inner == nullptr) break;
    dict = inner;
  }
  if (dict->as<PickleDict>() == nullptr) {
    throw FormatError(str(where, " holds ", dict->kind(), "; a dict of tensors was expected"));
  }
  std::vector<std::pair<std::string, torch::Tensor>> tensors;
  std::set<std::string> known;
  const auto& items = dict->as<PickleDict>()->items;
  for (auto item = items.rbegin(); item != items.rend(); ++item) {  // of equal keys the last counts
    const auto* name = item->first->as<std::string>();
    const auto* tensor = item->second->as<torch::Tensor>();
    if (name == nullptr || tensor == nullptr || !known.insert(*name).second) continue;
    tensors.emplace_back(*name, *tensor);
  }
  if (tensors.empty()) throw FormatError(str(where, " holds no tensor; weights by name were expected"));
  opened.weights = weights_from_tensors({tensors.rbegin(), tensors.rend()}, where);
  return opened;
}

}  // namespace

WeightsFile open_weights_file(const std::filesystem::path& path) {
  if (is_torch_file(path)) return open_torch_file(path);
  const auto file = SafetensorsFile::open(path);
  WeightsFile opened;
  opened.metadata = file.metadata();
  opened.weights = std::make_unique<SafetensorsSource>(file);
  return opened;
}

}  // namespace lorikeet
