// The Hugging Face Hub's cache on this machine, read only: the same files the Python libraries use.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace lorikeet {

/// $HF_HUB_CACHE, $HUGGINGFACE_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub or
/// ~/.cache/huggingface/hub, the first that is set; `~` and `$NAME` in them are expanded.
std::filesystem::path hub_cache_folder();

/// Whether `text` has the form of a Hub id: `name` or `owner/name`.
bool is_hub_id(const std::string& text);

/// The snapshot folder of `id` at `revision` (a branch, a tag or a 40-digit commit), if the cache has one.
std::optional<std::filesystem::path> cached_snapshot(const std::string& id, const std::string& revision = "main");

/// What a Stable Diffusion folder lacks of model_index.json and of the files its components need, as paths in it;
/// empty when the model is whole. With `variant` the weights must be that variant's (diffusion_pytorch_model.fp16...).
std::vector<std::string> missing_model_files(const std::filesystem::path& folder,
                                             const std::optional<std::string>& variant = std::nullopt);

/// `--pretrained_model_name_or_path` to a folder: an existing folder is itself; else a Hub id whose model is whole
/// in the cache. Throws FileError for a path that does not exist, HubError for an id that is not (wholly) cached.
std::filesystem::path resolve_model_folder(const std::string& name_or_path,
                                           const std::optional<std::string>& revision = std::nullopt,
                                           const std::optional<std::string>& variant = std::nullopt);

}  // namespace lorikeet
