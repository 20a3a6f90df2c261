// Where a model is: a folder in Diffusers' layout, or a single file together with the folder that completes it.
#pragma once

#include <concepts>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>

#include "pipelines/model_part.h"

namespace lorikeet {

/// Any path is one: of a folder, or of a file in the original layout (single_file.h).
struct ModelSource {
  std::filesystem::path path;
  /// For a file: the folder in Diffusers' layout that its configs, tokenizer and scheduler come from. Without one
  /// configs are inferred, and the tokenizer comes from the Hub's cache.
  std::optional<std::filesystem::path> config = {};

  ModelSource() = default;
  template <class Path>
  requires std::convertible_to<Path, std::filesystem::path> ModelSource(Path&& path)
      : path(std::forward<Path>(path)) {}  // NOLINT(google-explicit-constructor)
  ModelSource(std::filesystem::path file, std::optional<std::filesystem::path> config)
      : path(std::move(file)), config(std::move(config)) {}

  bool is_single_file() const;
};

/// `name_or_path`: a file, a folder, or a Hub id, whose files are downloaded where the cache lacks some.
/// `single_file_config`, for a file only: a folder in Diffusers' layout, or a Hub id. Throws as
/// fetch_model_folder in hub/fetch_by_name.h does; UsageError for a config without a single file, and for a single file
/// with a variant or a revision.
ModelSource find_model(const std::string& name_or_path, const std::optional<std::string>& revision,
                       const std::optional<std::string>& variant,
                       const std::optional<std::string>& single_file_config = std::nullopt);

/// "unet", "vae" or "text_encoder". Throws FileError and FormatError for what is not there or not as it should be.
ModelPart open_part(const ModelSource& source, const std::string& name, const std::optional<std::string>& variant);

/// Where the tokenizer's files are. Without a folder: that of a model of the same version, or CLIP's own, in the Hub's
/// cache. Throws FileError saying how to get one.
std::filesystem::path tokenizer_folder(const ModelSource& source);

/// Reads a JSON object from a model's folder. Throws FileError without the file, FormatError.
nlohmann::json read_model_json(const std::filesystem::path& path);

}  // namespace lorikeet
