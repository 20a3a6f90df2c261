#include "cli/training_push.h"

#include <algorithm>

#include "cli/command_line.h"
#include "cli/transfer_bar.h"
#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/api_write.h"
#include "hub/cache.h"
#include "hub/hub_error.h"
#include "hub/model_card.h"
#include "hub/token.h"
#include "hub/upload.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

constexpr const char* kMessage = "End of training";
constexpr const char* kReadme = "README.md";
constexpr const char* kMark = "<!-- Written by lorikeet; take this line out when you have made it your own. -->";
constexpr size_t kMostReadme = 10 << 20;

/// An id is not always given: the folder's name is meant then, as in the scripts.
std::string repo_name(const TrainOptions& options) {
  if (options.hub_model_id) return *options.hub_model_id;
  auto folder = fs::absolute(options.output_dir).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  return folder.filename().string();
}

/// Inside `...`: on one line.
std::string code(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::replace(text.begin(), text.end(), '`', '\'');
  return "`" + text + "`";
}

std::optional<std::string> hub_base_model(const TrainOptions& options) {
  const auto& name = options.pretrained_model_name_or_path;
  std::error_code ignored;
  if (fs::exists(name, ignored) || !is_hub_id(name)) return std::nullopt;
  return name;
}

std::string how_to_use(const std::string& base, const std::string& id) {
  return str(
      "```python\nfrom diffusers import StableDiffusionPipeline\n\npipeline = "
      "StableDiffusionPipeline.from_pretrained(\"",
      base, "\")\npipeline.load_lora_weights(\"", id,
      "\")\n```\n\n```bash\nlorikeet generate \\\n"
      "  --pretrained_model_name_or_path=",
      base, " \\\n  --lora=", id, " --prompt='...'\n```\n");
}

std::string description(const TrainOptions& options, const TrainingStory& story, const std::string& id) {
  const auto base = hub_base_model(options);
  const std::string named =
      base ? *base : "a model named " + code(fs::path(options.pretrained_model_name_or_path).filename());
  std::string text = str("A LoRA for ", named, ", trained on ", story.trained_on, ". The text encoder was ",
                         options.train_text_encoder ? "trained too.\n" : "left as it is.\n");
  if (base) text += "\n" + how_to_use(*base, id);
  if (options.validation_prompt) text += "\nPictures are of the prompt " + code(*options.validation_prompt) + ".\n";
  text.pop_back();
  return text;
}

/// What the repository has, or nothing.
std::optional<std::string> remote_readme(HubClient& client, const HubRepo& repo) {
  auto request = client.request("GET", resolve_url(repo, "main", kReadme));
  request.redirects = Redirects::kAll;
  const auto response = client.send_with_retries(request);
  if (response.status == 404) return std::nullopt;
  require_success(response, repo, "main", kReadme);
  return response.body;
}

std::optional<std::string> own_readme(const fs::path& file) {
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) return std::nullopt;
  const auto text = read_file(file, kMostReadme);
  if (text.find(kMark) != std::string::npos) return std::nullopt;  // of an earlier run
  return text;
}

void copy_picture(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::copy_file(from, to, fs::copy_options::overwrite_existing, error);
  if (error) throw FileError(str("cannot write ", to.string(), ": ", error.message()));
}

}  // namespace

TrainingPush::TrainingPush(const TrainOptions& options) : options_(options) {
  repo_.id = repo_name(options);
  if (!is_hub_id(repo_.id)) {
    throw UsageError(str("\"", repo_.id, "\" is no name for a repository on the Hub"),
                     "give one with --hub_model_id: letters, digits, - _ and .");
  }
  connect();
  const auto user = whoami(*client_);
  if (repo_.id.find('/') == std::string::npos) repo_.id = user.name + "/" + repo_.id;
  if (options.hub_create_pr) {
    repo_info(*client_, repo_);
    return;
  }
  check_owner(user);
}

void TrainingPush::connect() {
  const auto token = options_.hub_token ? options_.hub_token : logged_in_token();
  if (!token) {
    throw HubError("--push_to_hub: nobody is logged in to the Hub",
                   "run `lorikeet auth login`, or set HF_TOKEN, or leave --push_to_hub out");
  }
  client_.emplace(token);
}

void TrainingPush::open() {
  if (is_open_) return;
  is_open_ = true;
  if (options_.hub_create_pr) return;
  repo_.id = create_repo(*client_, repo_, options_.hub_private_repo ? std::optional(true) : std::nullopt);
  check_write_access(*client_, repo_);
}

void TrainingPush::check_owner(const HubUser& user) const {
  const std::string owner = repo_.id.substr(0, repo_.id.find('/'));
  if (user.role == "read") {
    throw HubError(str("--push_to_hub: the token \"", user.token_name, "\" of ", user.name, " may only read"),
                   str("make one that may write, on ", hub_endpoint(), "/settings/tokens"));
  }
  if (owner == user.name || std::find(user.orgs.begin(), user.orgs.end(), owner) != user.orgs.end()) return;
  throw HubError(str("--push_to_hub: the token is ", user.name, "'s, who is not, and is no member of, ", owner),
                 str("give --hub_model_id=", user.name, repo_.id.substr(repo_.id.find('/')),
                     ", or open a pull request with --hub_create_pr"));
}

std::optional<std::string> TrainingPush::card(const TrainingStory& story, const std::vector<std::string>& pictures) {
  if (const auto remote = remote_readme(*client_, repo_)) {
    if (remote->size() <= kMostReadme && is_utf8(*remote)) return with_card_tags(*remote, story.tags);
    log_warning(str("the README.md of ", repo_.id, " is no text in UTF-8 of at most ", kMostReadme >> 20,
                    " MiB: it stays as it is"));
    return std::nullopt;
  }
  if (const auto own = own_readme(fs::path(options_.output_dir) / kReadme)) return with_card_tags(*own, story.tags);
  ModelCard card;
  card.base_model = hub_base_model(options_);
  card.instance_prompt = story.instance_prompt;
  card.tags = story.tags;
  card.title = story.title + " - " + repo_.id;
  card.description = str(kMark, "\n\n", description(options_, story, repo_.id));
  card.images = pictures;
  card.command = story.command;
  return model_card_text(card);
}

std::vector<std::string> TrainingPush::patterns(const std::vector<std::string>& pictures) const {
  std::vector<std::string> patterns = {kReadme, "pytorch_lora_weights.safetensors"};
  patterns.insert(patterns.end(), pictures.begin(), pictures.end());
  if (options_.keep_best) patterns.emplace_back("best/pytorch_lora_weights.safetensors");
  if (options_.push_checkpoints) patterns.emplace_back("checkpoint-*/*");
  return patterns;
}

std::string TrainingPush::retry_command(const std::vector<std::string>& patterns) const {
  std::string command =
      str("lorikeet hub upload ", shell_word(repo_.id), " ", shell_word(options_.output_dir), " --include");
  for (const auto& pattern : patterns) command += " " + shell_word(pattern);
  if (options_.hub_private_repo) command += " --private";
  if (options_.hub_create_pr) command += " --create_pr";
  return str(command, " --commit_message=", shell_word(kMessage));
}

std::string TrainingPush::push(const TrainingStory& story, const std::vector<fs::path>& pictures) {
  const fs::path output = options_.output_dir;
  std::vector<std::string> names;
  for (size_t i = 0; i < pictures.size(); ++i) names.push_back(str("image_", i, ".png"));
  auto chosen = patterns(names);
  try {
    connect();  // the token of before the training may have been one for an hour
    for (size_t i = 0; i < pictures.size(); ++i) copy_picture(pictures[i], output / names[i]);
    if (const auto readme = card(story, names)) {
      write_file_atomically(output / kReadme, *readme);
    } else {
      std::erase(chosen, kReadme);
    }
    TransferBar bar;
    UploadOptions how{.message = kMessage, .create_pr = options_.hub_create_pr};
    how.sent = [&](const std::string& path, int64_t bytes, int64_t size) { bar.show("Sending " + path, bytes, size); };
    const auto result = upload_files(*client_, repo_, files_to_upload(output, chosen, {}), how);
    return result.pull_request.value_or(result.url);
  } catch (const Interrupted& stop) {
    throw Interrupted("stopped while the LoRA was pushed to the Hub; the training is done",
                      "push it with: " + retry_command(chosen));
  } catch (const Error& error) {
    const std::string hint = error.hint().empty() ? "" : error.hint() + "; then ";
    throw HubError(
        str("the training is done and all of it is in ", output.string(), ", but it is not on the Hub: ", error.what()),
        str(hint, "push it with: ", retry_command(chosen)));
  }
}

}  // namespace lorikeet
