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
  /// Finds out what can be known without a change: a token, whose it is, the repository's name. Throws UsageError,
  /// HubError with what is missing.
  explicit TrainingPush(const TrainOptions& options);

  /// Makes the repository unless there is one, and finds out that the token may write to it; once. For when nothing but
  /// the training can fail any more. Throws HubError.
  void open();

  /// Writes README.md and the pictures into --output_dir and makes one commit: these, the LoRA, with --keep_best the
  /// best one, with --push_checkpoints the checkpoints. Returns the commit's or pull request's URL. Throws HubError
  /// that says how to try again.
  std::string push(const TrainingStory& story, const std::vector<std::filesystem::path>& pictures);

  const std::string& repo_id() const { return repo_.id; }

 private:
  void connect();
  void check_owner(const HubUser& user) const;
  /// The README, or nothing where that of the repository is nothing to add to.
  std::optional<std::string> card(const TrainingStory& story, const std::vector<std::string>& pictures);
  std::vector<std::string> patterns(const std::vector<std::string>& pictures) const;
  std::string retry_command(const std::vector<std::string>& patterns) const;

  const TrainOptions& options_;
  HubRepo repo_;
  bool is_open_ = false;
  std::optional<HubClient> client_;
};

}  // namespace lorikeet
