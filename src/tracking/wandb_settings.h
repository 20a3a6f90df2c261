// What the WANDB_ variables of the environment say, read as the official program reads them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace lorikeet {

struct WandbSettings {
  enum class Mode { kOnline, kOffline, kDisabled };

  Mode mode = Mode::kOnline;
  std::filesystem::path folder;  // holds the runs' folders: "wandb" in WANDB_DIR or in the given folder
  std::string project, entity, run_id, name, notes, group, job_type;  // empty: not given
  std::vector<std::string> tags;
};

/// Reads WANDB_MODE, _DISABLED, _DIR, _PROJECT, _ENTITY, _RUN_ID, _NAME, _NOTES, _TAGS, _RUN_GROUP, _JOB_TYPE; an empty
/// one counts as not given. Throws UsageError for values that the official program refuses.
WandbSettings read_wandb_settings(const std::filesystem::path& folder, const std::string& project);

/// Whether a run may be called so: not empty, no white space at its ends, none of :;,#?/' in it.
bool is_wandb_run_id(const std::string& id);

/// Eight random letters and digits, as the official program names runs.
std::string new_wandb_run_id();

/// `json`, an object of options, without those that are secret by name ("hub_token", "wandb_api_key"), and with the
/// values of secret environment variables blotted out of the others.
std::string without_secrets(const std::string& json);

/// `text` with the values of WANDB_API_KEY, HF_TOKEN and HUGGING_FACE_HUB_TOKEN blotted out.
std::string blot_secrets(std::string text);

}  // namespace lorikeet
