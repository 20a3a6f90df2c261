#include "training/diffusers_checkpoint.h"

#include <charconv>
#include <cmath>

#include "core/errors.h"
#include "core/text.h"
#include "io/torch_file.h"

namespace lorikeet {
namespace {

constexpr const char* kLoraFile = "pytorch_lora_weights.safetensors";

/// N of checkpoint-N.
int64_t step_of(const std::filesystem::path& folder) {
  constexpr std::string_view kPrefix = "checkpoint-";
  const auto plain = folder.has_filename() ? folder : folder.parent_path();  // "a/b/" has no file name
  const std::string name = plain.filename().string();
  int64_t step = -1;
  const char* end = name.data() + name.size();
  if (name.starts_with(kPrefix)) {
    const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, step);
    if (error != std::errc{} || stop != end) step = -1;
  }
  if (step < 0) throw FormatError(str(folder.string(), " is called '", name, "'; expected checkpoint-N, N the step"));
  return step;
}

/// A file's values under its name, so that every message can say where.
class Part {
 public:
  explicit Part(const std::filesystem::path& path) : name_(path.string()), file_(path) {}

  const PickleValue& root() const { return file_.root(); }
  std::string where(std::string_view what) const { return str(name_, ": ", what); }
  const PickleValue& at(const PickleValue& value, const char* key) const {
    const PickleValue* found = value.find(key);
    if (found == nullptr) throw FormatError(where(str("there is no '", key, "' in ", value.kind())));
    return *found;
  }

 private:
  std::string name_;
  TorchFile file_;
};

DiffusersMoments moments_of(const Part& part, const PickleValue& state, const std::string& what) {
  DiffusersMoments moments;
  for (const auto& [key, value] : state.dict(part.where(what)).items) {
    const std::string name = key->text(part.where(what + "'s key"));
    if (name == "step") {
      moments.step = value->number(part.where(what + "'s step"));
      if (!(moments.step >= 0) || std::isinf(moments.step)) {
        throw FormatError(part.where(str(what, " is at step ", moments.step)));
      }
    } else if (const auto* tensor = value->as<torch::Tensor>()) {
      moments.tensors.insert_or_assign(name, *tensor);
    }
  }
  return moments;
}

DiffusersGroup group_of(const Part& part, const PickleValue& value) {
  DiffusersGroup group;
  for (const auto* index : part.at(value, "params").items(part.where("params"))) {
    group.parameters.push_back(index->integer(part.where("a parameter's number")));
  }
  for (const auto& [key, item] : value.dict(part.where("a parameter group")).items) {
    const std::string name = key->text(part.where("a setting's name"));
    if (item->as<int64_t>() != nullptr || item->as<double>() != nullptr || item->as<torch::Tensor>() != nullptr) {
      group.numbers.insert_or_assign(name, item->number(part.where(name)));
    }
  }
  if (const auto* betas = value.find("betas")) {
    const auto& items = betas->items(part.where("betas"));
    for (size_t i = 0; i < items.size(); ++i) {
      group.numbers.insert_or_assign(str("beta", i + 1), items[i]->number(part.where("a beta")));
    }
  }
  return group;
}

void read_optimizer(const std::filesystem::path& path, DiffusersCheckpoint& checkpoint) {
  const Part part(path);
  for (const auto& [key, value] : part.at(part.root(), "state").dict(part.where("state")).items) {
    const int64_t index = key->integer(part.where("a parameter's number"));
    checkpoint.moments.insert_or_assign(index, moments_of(part, *value, str("parameter ", index)));
  }
  for (const auto* group : part.at(part.root(), "param_groups").items(part.where("param_groups"))) {
    checkpoint.groups.push_back(group_of(part, *group));
  }
}

void read_schedule(const std::filesystem::path& path, DiffusersCheckpoint& checkpoint) {
  const Part part(path);
  checkpoint.last_epoch = part.at(part.root(), "last_epoch").integer(part.where("last_epoch"));
  for (const auto* lr : part.at(part.root(), "_last_lr").items(part.where("_last_lr"))) {
    checkpoint.last_lr.push_back(lr->number(part.where("a learning rate")));
  }
}

uint32_t word(const Part& part, int64_t value) {
  if (value < 0 || value > UINT32_MAX) throw FormatError(part.where(str("a random word is ", value)));
  return static_cast<uint32_t>(value);
}

/// random.getstate(): (3, 625 words, None or a number)
std::vector<uint32_t> python_state(const Part& part, const PickleValue& value) {
  const auto& parts = value.items(part.where("random_state"));
  if (parts.size() != 3 || parts[0]->integer(part.where("the version of random_state")) != 3) {
    throw FormatError(part.where("random_state is not of version 3"));
  }
  std::vector<uint32_t> words;
  for (const auto* item : parts[1]->items(part.where("random_state"))) {
    words.push_back(word(part, item->integer(part.where("a random word"))));
  }
  if (words.size() != 625)
    throw FormatError(part.where(str("random_state has ", words.size(), " words; expected 625")));
  return words;
}

/// numpy.random.get_state(): ("MT19937", 624 words, position, ...)
std::vector<uint32_t> numpy_state(const Part& part, const PickleValue& value) {
  const auto& parts = value.items(part.where("numpy_random_seed"));
  if (parts.size() < 3 || parts[0]->text(part.where("numpy's generator")) != "MT19937") {
    throw FormatError(part.where("numpy_random_seed is not of MT19937"));
  }
  const auto& tensor = parts[1]->tensor(part.where("numpy_random_seed"));
  if (tensor.scalar_type() != torch::kUInt32 || tensor.dim() != 1 || tensor.size(0) != 624) {
    throw FormatError(part.where("numpy_random_seed has no 624 words"));
  }
  const auto whole = tensor.contiguous();
  const auto* first = static_cast<const uint32_t*>(whole.const_data_ptr());
  std::vector<uint32_t> words(first, first + 624);
  words.push_back(word(part, parts[2]->integer(part.where("numpy's position"))));
  return words;
}

torch::Tensor state_bytes(const Part& part, const PickleValue& value, const char* what) {
  const auto& tensor = value.tensor(part.where(what));
  if (tensor.scalar_type() != torch::kUInt8 || tensor.dim() != 1) {
    throw FormatError(part.where(str(what, " is no row of bytes")));
  }
  return tensor.contiguous();
}

void read_random(const std::filesystem::path& path, DiffusersCheckpoint& checkpoint) {
  const Part part(path);
  checkpoint.torch_state = state_bytes(part, part.at(part.root(), "torch_manual_seed"), "torch_manual_seed");
  checkpoint.python_state = python_state(part, part.at(part.root(), "random_state"));
  checkpoint.numpy_state = numpy_state(part, part.at(part.root(), "numpy_random_seed"));
  const auto* devices = part.root().find("torch_cuda_manual_seed");
  if (devices == nullptr) return;
  for (const auto* state : devices->items(part.where("torch_cuda_manual_seed"))) {
    checkpoint.cuda_states.push_back(state_bytes(part, *state, "torch_cuda_manual_seed"));
  }
}

/// A scaler that is switched off writes an empty dict.
std::optional<DiffusersScaler> read_scaler(const std::filesystem::path& path) {
  const Part part(path);
  if (part.root().dict(part.where("its value")).items.empty()) return std::nullopt;
  return DiffusersScaler{part.at(part.root(), "scale").number(part.where("scale")),
                         part.at(part.root(), "_growth_tracker").integer(part.where("_growth_tracker"))};
}

}  // namespace

DiffusersCheckpoint read_diffusers_checkpoint(const std::filesystem::path& folder, int rank) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) {
    throw FileError(str("there is no checkpoint folder ", folder.string()));
  }
  DiffusersCheckpoint checkpoint;
  checkpoint.step = step_of(folder);
  checkpoint.lora = folder / kLoraFile;
  if (!std::filesystem::is_regular_file(checkpoint.lora, error)) {
    throw FileError(str(folder.string(), " has no ", kLoraFile),
                    "only checkpoints of the LoRA training scripts can be continued");
  }
  read_optimizer(folder / "optimizer.bin", checkpoint);
  read_schedule(folder / "scheduler.bin", checkpoint);
  read_random(folder / str("random_states_", rank, ".pkl"), checkpoint);
  const auto scaler = folder / "scaler.pt";
  if (std::filesystem::exists(scaler, error)) checkpoint.scaler = read_scaler(scaler);
  return checkpoint;
}

}  // namespace lorikeet
