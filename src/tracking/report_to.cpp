#include "tracking/report_to.h"

#include <algorithm>

#include "core/errors.h"
#include "core/options.h"
#include "core/text.h"

namespace lorikeet {
namespace {

const TextList kNames{"tensorboard", "wandb", "jsonl", "all", "none"};
/// What accelerate hands on to; known here only to be refused with the reason.
const TextList kElsewhere{"aim", "clearml", "comet_ml", "dvclive", "mlflow", "swanlab", "trackio"};
constexpr const char* kExpected = "expected tensorboard, wandb, jsonl, several of them by comma, all or none";

TextList split(const std::string& text) {
  TextList words;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    std::string word = text.substr(begin, end - begin);
    word.erase(0, word.find_first_not_of(' '));
    word.erase(word.find_last_not_of(' ') + 1);
    words.push_back(word);
    begin = end + 1;
  }
  return words;
}

bool contains(const TextList& list, const std::string& word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

[[noreturn]] void refuse(const std::string& text, const std::string& word) {
  if (contains(kElsewhere, word)) {
    throw UsageError(str("--report_to=", word, " is not available; ", kExpected),
                     "every run also writes a .jsonl log, which other trackers can be fed from");
  }
  const std::string near = nearest_name(word, kNames);
  throw UsageError(str("--report_to is '", text, "'; ", kExpected),
                   near.empty() ? "`--help` describes --report_to" : str("did you mean ", near, "?"));
}

}  // namespace

TrackerNames parse_report_to(const std::string& text) {
  TrackerNames names;
  const TextList words = split(text);
  for (const std::string& word : words) {
    if (!contains(kNames, word)) refuse(text, word);
    if (word == "none" && words.size() > 1) {
      throw UsageError(str("--report_to is '", text, "'; 'none' stands alone"), "leave out none, or the others");
    }
    names.tensorboard |= word == "tensorboard" || word == "all";
    names.wandb |= word == "wandb" || word == "all";
    names.jsonl |= word == "jsonl" || word == "all";
  }
  return names;
}

}  // namespace lorikeet
