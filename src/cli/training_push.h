// What --push_to_hub does before a training and after it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hub/api.h"
#include "training/train_options.h"

namespace lorikeet {

/// What a recipe tells of itself in the card.
struct TrainingStory {
  std::string title;                           // "LoRA DreamBooth"
  std::string trained_on;                      // "pictures of one subject, with the prompt ..."
  std::optional<std::string> instance_prompt;  // for the metadata
  std::vector<std::string> tags;
  std::string command;  // as it was given, without secrets
};

/// Where a training's LoRA goes.
class TrainingPush {
 public:
  /// Finds out that it will be possible: a token, whose it is, the repository's name, the right to write to it. Makes
  /// the repository, unless `dry`. Throws UsageError, HubError with what is missing.
  TrainingPush(const TrainOptions& options, bool dry);

  /// Writes README.md and the pictures into --output_dir and makes one commit: these, the LoRA, with --keep_best the
  /// best one, with --push_checkpoints the checkpoints. Returns the commit's or pull request's URL. Throws HubError
  /// that says how to try again.
  std::string push(const TrainingStory& story, const std::vector<std::filesystem::path>& pictures);

  const std::string& repo_id() const { return repo_.id; }

 private:
  void check_owner(const HubUser& user) const;
  std::string card(const TrainingStory& story, const std::vector<std::string>& pictures);
  std::vector<std::string> patterns(const std::vector<std::string>& pictures) const;
  std::string retry_command(const std::vector<std::string>& patterns) const;

  const TrainOptions& options_;
  HubRepo repo_;
  std::optional<HubClient> client_;
};

}  // namespace lorikeet
