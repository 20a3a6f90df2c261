// Models and LoRA files by name: a path, or an id on the Hub that is fetched when it is not here yet.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace lorikeet {

/// An existing folder is itself; an id whose model is whole in the cache is that, without a request; what is missing of
/// another is downloaded, with the token of hub/token.h. With $HF_HUB_OFFLINE as resolve_model_folder (cache.h).
/// Throws FileError for a path that does not exist; HubError for a repository that is not there or holds no Stable
/// Diffusion model; and as download_file does.
std::filesystem::path fetch_model_folder(const std::string& name_or_path,
                                         const std::optional<std::string>& revision = std::nullopt,
                                         const std::optional<std::string>& variant = std::nullopt);

/// The folder of `id` at `revision` with what its files match of `patterns` (snapshot.h): the cache's when it has some,
/// else downloaded. Nothing with $HF_HUB_OFFLINE where the cache has none. Throws as fetch_model_folder does.
std::optional<std::filesystem::path> fetch_small_files(const std::string& id, const std::string& revision,
                                                       const std::vector<std::string>& patterns);

/// An existing path is itself. `owner/name` is that repository's pytorch_lora_weights.safetensors, or its only
/// .safetensors; `owner/name/some/file.safetensors` that file of it. Asked anew every time; the cache stands in where
/// the Hub cannot be reached. Throws as fetch_model_folder does.
std::filesystem::path fetch_lora_file(const std::string& name_or_path);

/// The same of learned words: `owner/name` is that repository's learned_embeds.safetensors, else its
/// learned_embeds.bin, else its only .safetensors, .bin or .pt. Source: load_textual_inversion of Diffusers.
std::filesystem::path fetch_learned_words(const std::string& name_or_path);

}  // namespace lorikeet
