#include "hub/cache.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <set>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/listed.h"
#include "core/text.h"
#include "hub/cache_writer.h"
#include "hub/environment.h"
#include "hub/home.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

constexpr size_t kSmallFile = 16 << 20;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);  // follows symbolic links: blobs of the cache are reached through them
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

/// A revision becomes part of a path under refs/: it must not climb out of there.
bool is_safe_revision(const std::string& revision) {
  if (revision.empty() || revision.front() == '/') return false;
  for (const auto& part : fs::path(revision)) {
    if (part == ".." || part == ".") return false;
  }
  return true;
}

fs::path repository_folder(const std::string& id) {
  std::string name = "models--" + id;
  if (const size_t slash = name.find('/'); slash != std::string::npos) name.replace(slash, 1, "--");
  return hub_cache_folder() / name;
}

/// The shards an index file names, or the index itself when it cannot be understood.
void add_missing_shards(const fs::path& folder, const std::string& part, const std::string& index,
                        std::vector<std::string>& missing) {
  const json content = json::parse(read_file(folder / part / index, kSmallFile), nullptr, false);
  if (!content.is_object() || !content.contains("weight_map") || !content["weight_map"].is_object()) {
    missing.push_back(part + "/" + index);
    return;
  }
  std::set<std::string> shards;
  for (const auto& file : content["weight_map"]) {
    if (file.is_string()) shards.insert(file.get<std::string>());
  }
  for (const auto& shard : shards) {
    if (!is_file(folder / part / shard)) missing.push_back(part + "/" + shard);
  }
}

void add_missing_weights(const fs::path& folder, const std::string& part, const std::string& stem,
                         const std::optional<std::string>& variant, std::vector<std::string>& missing) {
  if (!is_file(folder / part / "config.json")) missing.push_back(part + "/config.json");
  const std::string suffix = variant && !variant->empty() ? "." + *variant : "";
  const std::string single = stem + suffix + ".safetensors";
  const std::string index = stem + ".safetensors.index" + suffix + ".json";
  if (is_file(folder / part / single)) return;
  if (is_file(folder / part / index)) return add_missing_shards(folder, part, index, missing);
  if (is_file(folder / part / ((stem == "model" ? "pytorch_model" : stem) + suffix + ".bin"))) return;
  missing.push_back(part + "/" + single);
}

/// Of a folder that is meant as a path, not as an id: the message differs, for a typo is the likely cause.
bool looks_like_path(const std::string& text) {
  return text.starts_with("/") || text.starts_with("./") || text.starts_with("../") || text.starts_with("~") ||
         text == "." || text == ".." || !is_hub_id(text);
}

}  // namespace

fs::path hub_cache_folder() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (auto value = environment(name)) return expand_path(*value);
  }
  return hub_home_folder() / "hub";
}

bool is_hub_id(const std::string& text) {
  if (text.empty() || text.size() > 96 || text.ends_with(".git")) return false;
  if (text.find("--") != std::string::npos || text.find("..") != std::string::npos) return false;
  if (std::count(text.begin(), text.end(), '/') > 1) return false;
  const auto allowed = [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '/'; };
  if (!std::all_of(text.begin(), text.end(), allowed)) return false;
  const size_t slash = text.find('/');
  const std::string owner = slash == std::string::npos ? text : text.substr(0, slash);
  const std::string name = slash == std::string::npos ? text : text.substr(slash + 1);
  for (const auto& part : {owner, name}) {
    if (part.empty() || part.front() == '.' || part.front() == '-' || part.back() == '.' || part.back() == '-') {
      return false;
    }
  }
  return true;
}

std::optional<fs::path> cached_snapshot(const std::string& id, const std::string& revision) {
  if (!is_safe_revision(revision)) {
    throw UsageError(str("the revision \"", revision, "\" is not the name of a branch, a tag or a commit"));
  }
  const fs::path repository = repository_folder(id);
  std::string commit = revision;
  if (!is_commit(revision)) {
    const fs::path reference = repository / "refs" / revision;
    if (!is_file(reference)) return std::nullopt;
    commit = read_file(reference, 4096);
    while (!commit.empty() && std::isspace(static_cast<unsigned char>(commit.back()))) commit.pop_back();
    if (!is_commit(commit)) {
      throw HubError(str("the cache's ", reference.string(), " holds \"", commit, "\", not a 40-digit commit"),
                     "remove that file and download the model again");
    }
  }
  const fs::path snapshot = repository / "snapshots" / commit;
  if (!is_folder(snapshot)) return std::nullopt;
  return snapshot;
}

std::vector<std::string> missing_model_files(const fs::path& folder, const std::optional<std::string>& variant) {
  std::vector<std::string> missing;
  if (!is_file(folder / "model_index.json")) missing.push_back("model_index.json");
  add_missing_weights(folder, "unet", "diffusion_pytorch_model", variant, missing);
  add_missing_weights(folder, "vae", "diffusion_pytorch_model", variant, missing);
  add_missing_weights(folder, "text_encoder", "model", variant, missing);
  if (!is_file(folder / "tokenizer" / "tokenizer.json")) {
    for (const char* name : {"tokenizer/vocab.json", "tokenizer/merges.txt"}) {
      if (!is_file(folder / name)) missing.push_back(name);
    }
  }
  if (!is_file(folder / "scheduler" / "scheduler_config.json")) missing.push_back("scheduler/scheduler_config.json");
  return missing;
}

fs::path resolve_model_folder(const std::string& name_or_path, const std::optional<std::string>& revision,
                              const std::optional<std::string>& variant) {
  if (name_or_path.empty()) throw UsageError("the model's name or path is empty");
  const fs::path path = name_or_path;
  if (is_folder(path)) return path;
  if (is_file(path)) {
    throw FileError(str(path.string(), " is a file; a model folder in Diffusers' layout was expected"),
                    "give the folder that holds model_index.json");
  }
  if (looks_like_path(name_or_path)) {
    throw FileError(str("there is no folder ", name_or_path),
                    "give a model folder in Diffusers' layout, or a Hub id such as owner/name");
  }
  const std::string& id = name_or_path;
  const std::string wanted = revision && !revision->empty() ? *revision : "main";
  const std::string at = wanted == "main" ? "" : " --revision " + wanted;
  const std::string hint = str("`lorikeet hub download ", id, at,
                               " --pipeline` fetches it where HF_HUB_OFFLINE is not set; or give the path of a model "
                               "folder");
  const auto snapshot = cached_snapshot(id, wanted);
  if (!snapshot) {
    throw HubError(str("\"", id, "\" is no folder here, and as a Hub id it is not in the cache ",
                       hub_cache_folder().string(), " (revision ", wanted, ")"),
                   hint);
  }
  const auto missing = missing_model_files(*snapshot, variant);
  if (!missing.empty()) {
    throw HubError(str("the cache ", hub_cache_folder().string(), " holds \"", id, "\" (revision ", wanted,
                       ") only in part: ", listed(missing, 4), " missing"),
                   hint);
  }
  return *snapshot;
}

}  // namespace lorikeet
