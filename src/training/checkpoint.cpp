#include "training/checkpoint.h"

#include <fcntl.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

constexpr const char* kStateFile = "state.json";
constexpr const char* kIncomplete = ".incomplete";
constexpr const char* kOld = ".old";
constexpr const char* kTensorFile = "training_state.safetensors";
constexpr int kMostNesting = 8;

/// N of "checkpoint-N"; nothing for other names.
std::optional<int64_t> step_of(const std::string& name) {
  constexpr std::string_view prefix = "checkpoint-";
  if (!name.starts_with(prefix)) return std::nullopt;
  int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + prefix.size(), end, step);
  if (error != std::errc() || stop != end || step < 0) return std::nullopt;
  return step;
}

bool is_whole(const fs::path& folder) { return fs::is_regular_file(folder / kStateFile); }

using Checkpoints = std::vector<std::pair<int64_t, fs::path>>;

/// The checkpoint-N folders in `output` that `wanted` says yes to, lowest N first.
Checkpoints list_folders(const fs::path& output, const std::function<bool(const fs::path&)>& wanted) {
  Checkpoints found;
  std::error_code error;
  for (fs::directory_iterator it(output, error), end; !error && it != end; it.increment(error)) {
    const auto step = step_of(it->path().filename().string());
    if (step && wanted(it->path())) found.emplace_back(*step, it->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

/// What runs that died while they wrote have left.
void remove_leftovers(const fs::path& output) {
  std::error_code error;
  std::vector<fs::path> found;
  for (fs::directory_iterator it(output, error), end; !error && it != end; it.increment(error)) {
    const auto name = it->path().filename().string();
    if (!name.starts_with(".checkpoint-")) continue;
    if (name.ends_with(kIncomplete) || name.ends_with(kOld)) found.push_back(it->path());
  }
  for (const auto& folder : found) fs::remove_all(folder, error);
}

[[noreturn]] void fail(const char* what, const fs::path& path, const std::error_code& error) {
  throw FileError(str("cannot ", what, " ", path.string(), ": ", error.message()),
                  "free some disk space or choose another --output_dir; checkpoints already written are whole");
}

/// Gives the finished checkpoint its name. An older one of that name changes places with it where the file system can
/// do that, so that at no moment there is none.
void put_in_place(const fs::path& aside, const fs::path& target, const fs::path& old) {
  std::error_code error, undone;
  if (::renameat2(AT_FDCWD, aside.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) {
    fs::rename(aside, old, error);
    return;
  }
  if (fs::exists(target)) fs::rename(target, old, error);
  fs::rename(aside, target, error);
  if (!error) return;
  fs::rename(old, target, undone);
  fail("rename the finished checkpoint to", target, error);
}

}  // namespace

void write_checkpoint(const fs::path& output, int64_t step, const CheckpointState& state,
                      const std::function<void(const fs::path&)>& write_lora) {
  const fs::path target = output / str("checkpoint-", step);
  const fs::path aside = output / str(".checkpoint-", step, kIncomplete);
  const fs::path old = output / str(".checkpoint-", step, kOld);
  std::error_code error;
  remove_leftovers(output);
  fs::create_directories(aside, error);
  if (error) fail("create", aside, error);
  try {
    write_lora(aside);
    write_safetensors(aside / kTensorFile, state.tensors);
    write_file_atomically(aside / kStateFile, state.values.dump(1) + "\n");
  } catch (...) {
    fs::remove_all(aside, error);
    throw;
  }
  sync_folder(aside);
  put_in_place(aside, target, old);
  sync_folder(output);
  fs::remove_all(old, error);
}

CheckpointState read_checkpoint(const fs::path& folder) {
  CheckpointState state;
  // Deeper values are none of ours, and could exhaust the stack of what shows them.
  const auto shallow = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) { return depth <= kMostNesting; };
  state.values = nlohmann::json::parse(read_file(folder / kStateFile), shallow, /*allow_exceptions=*/false);
  if (!state.values.is_object()) throw FormatError(str((folder / kStateFile).string(), " is not a JSON object"));
  const auto file = SafetensorsFile::open(folder / kTensorFile);
  for (const auto& name : file.names()) state.tensors.emplace_back(name, file.tensor(name));
  return state;
}

bool is_diffusers_checkpoint(const fs::path& folder) {
  if (is_whole(folder)) return false;
  for (const char* name :
       {"optimizer.bin", "scheduler.bin", "random_states_0.pkl", "pytorch_lora_weights.safetensors"}) {
    if (!fs::is_regular_file(folder / name)) return false;
  }
  return true;
}

std::vector<std::pair<int64_t, fs::path>> list_checkpoints(const fs::path& output) {
  return list_folders(output, is_whole);
}

void prune_checkpoints(const fs::path& output, int64_t limit, int64_t newest) {
  auto found = list_checkpoints(output);
  std::stable_partition(found.begin(), found.end(), [&](const auto& entry) { return entry.first != newest; });
  std::error_code error;
  for (size_t i = 0; i + static_cast<size_t>(limit) < found.size(); ++i) fs::remove_all(found[i].second, error);
}

std::optional<fs::path> find_checkpoint(const fs::path& output, const std::string& wanted) {
  const auto usable = [](const fs::path& folder) { return is_whole(folder) || is_diffusers_checkpoint(folder); };
  const auto found = list_folders(output, usable);
  if (wanted == "latest") {
    if (found.empty()) return std::nullopt;
    return found.back().second;
  }
  for (const fs::path& candidate : {output / fs::path(wanted).filename(), fs::path(wanted)}) {
    if (usable(candidate)) return candidate;
  }
  std::string known;
  for (const auto& [step, path] : found) known += (known.empty() ? "" : ", ") + path.filename().string();
  throw FileError(str("--resume_from_checkpoint=", wanted, ": there is no such checkpoint in ", output.string(),
                      known.empty() ? ", and no other one" : ", there are " + known),
                  "name one of them, or use --resume_from_checkpoint=latest");
}

}  // namespace lorikeet
