#include "pipelines/model_source.h"

#include <vector>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/text.h"
#include "hub/cache.h"
#include "hub/fetch_by_name.h"
#include "pipelines/single_file.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

constexpr size_t kConfigLimit = 16 << 20;

/// A repository with a CLIP tokenizer, and where it is in it.
struct TokenizerPlace {
  const char *id, *folder;
};
const std::vector<TokenizerPlace> kVersion1Tokenizers = {{"stable-diffusion-v1-5/stable-diffusion-v1-5", "tokenizer"},
                                                         {"runwayml/stable-diffusion-v1-5", "tokenizer"},
                                                         {"CompVis/stable-diffusion-v1-4", "tokenizer"},
                                                         {"openai/clip-vit-large-patch14", ""}};
// Not OpenCLIP's own repository: Stable Diffusion 2 pads texts with another token.
const std::vector<TokenizerPlace> kVersion2Tokenizers = {{"stabilityai/stable-diffusion-2-1", "tokenizer"},
                                                         {"stabilityai/stable-diffusion-2-1-base", "tokenizer"},
                                                         {"stabilityai/stable-diffusion-2", "tokenizer"},
                                                         {"stabilityai/stable-diffusion-2-base", "tokenizer"}};

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool is_tokenizer(const fs::path& folder) {
  return is_file(folder / "tokenizer.json") || (is_file(folder / "vocab.json") && is_file(folder / "merges.txt"));
}

fs::path find_config_folder(const std::string& name_or_path) {
  if (is_folder(name_or_path)) return name_or_path;
  if (is_hub_id(name_or_path)) {
    const std::vector<std::string> files = {"model_index.json", "*/config.json", "scheduler/*.json", "tokenizer/*"};
    if (const auto snapshot = fetch_small_files(name_or_path, "main", files)) return *snapshot;
  }
  throw HubError(str("the single file's config \"", name_or_path, "\" is no folder here, and no Hub id in the cache ",
                     hub_cache_folder().string()),
                 "give a model folder in Diffusers' layout; its weights need not be there");
}

}  // namespace

bool ModelSource::is_single_file() const { return is_file(path); }

ModelSource find_model(const std::string& name_or_path, const std::optional<std::string>& revision,
                       const std::optional<std::string>& variant,
                       const std::optional<std::string>& single_file_config) {
  if (!is_file(name_or_path)) {
    const auto folder = fetch_model_folder(name_or_path, revision, variant);
    if (single_file_config) {
      throw UsageError(str("the single file's config \"", *single_file_config, "\" is given, but ", name_or_path,
                           " is a model folder"),
                       "a folder has its own configs: leave it out");
    }
    return folder;
  }
  if (variant) {
    throw UsageError(str("the variant \"", *variant, "\" is given, but ", name_or_path, " is a single file"),
                     "variants are files of a model folder: leave it out");
  }
  if (revision) {
    throw UsageError(str("the revision \"", *revision, "\" is given, but ", name_or_path, " is a single file"),
                     "revisions are of models on the Hub: leave it out");
  }
  ModelSource source(fs::path{name_or_path});
  if (single_file_config) source.config = find_config_folder(*single_file_config);
  return source;
}

ModelPart open_part(const ModelSource& source, const std::string& name, const std::optional<std::string>& variant) {
  if (source.is_single_file()) {
    const auto file = SingleFile::open(source.path);
    std::optional<nlohmann::json> config;
    if (source.config) config = read_model_json(*source.config / name / "config.json");
    return file.part(name, config);
  }
  ModelPart part;
  part.config = read_model_json(source.path / name / "config.json");
  part.weights =
      open_weights(source.path / name, name == "text_encoder" ? "model" : "diffusion_pytorch_model", variant);
  return part;
}

fs::path tokenizer_folder(const ModelSource& source) {
  if (!source.is_single_file()) return source.path / "tokenizer";
  if (source.config) return *source.config / "tokenizer";
  const bool version_2 = SingleFile::open(source.path).is_version_2();
  for (const auto& [id, folder] : version_2 ? kVersion2Tokenizers : kVersion1Tokenizers) {
    const auto snapshot = cached_snapshot(id);
    if (snapshot && is_tokenizer(*snapshot / folder)) return *snapshot / folder;
  }
  const char* download = version_2
                             ? "`lorikeet hub download stabilityai/stable-diffusion-2-1 --include \"tokenizer/*\"`"
                             : "`lorikeet hub download openai/clip-vit-large-patch14 vocab.json merges.txt "
                               "tokenizer_config.json special_tokens_map.json`";
  throw FileError(
      str(source.path.string(), " has no tokenizer, as no single file has, and the cache ", hub_cache_folder().string(),
          " has none of a Stable Diffusion ", version_2 ? 2 : 1, " model"),
      str("run ", download, " once, or give --single_file_config=FOLDER, a model folder in Diffusers' layout"));
}

nlohmann::json read_model_json(const fs::path& path) {
  if (!is_file(path)) {
    throw FileError(str("there is no ", path.string()), "a model folder in Diffusers' layout was expected");
  }
  auto content = nlohmann::json::parse(read_file(path, kConfigLimit), nullptr, /*allow_exceptions=*/false);
  if (!content.is_object()) throw FormatError(str(path.string(), " is not a JSON object"));
  return content;
}

}  // namespace lorikeet
