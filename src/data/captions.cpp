#include "data/captions.h"

#include <algorithm>

namespace lorikeet {
namespace {

std::string trimmed(const std::string& text) {
  const auto begin = text.find_first_not_of(" \t\n\r");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t\n\r") - begin + 1);
}

std::vector<std::string> parts_of(const std::string& caption, const std::string& separator) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= caption.size();) {
    const size_t end = std::min(caption.find(separator, begin), caption.size());
    auto part = trimmed(caption.substr(begin, end - begin));
    if (!part.empty()) parts.push_back(std::move(part));
    begin = end + separator.size();
  }
  return parts;
}

std::string shuffled(const std::string& caption, const CaptionOptions& options, PythonRandom& random) {
  auto parts = parts_of(caption, options.separator);
  const auto keep = std::min(static_cast<size_t>(options.keep_tokens), parts.size());
  std::vector<std::string> moving(parts.begin() + static_cast<int64_t>(keep), parts.end());
  random.shuffle(moving);
  std::copy(moving.begin(), moving.end(), parts.begin() + static_cast<int64_t>(keep));
  std::string text;
  for (const auto& part : parts) text += (text.empty() ? "" : options.separator + " ") + part;
  return text;
}

std::string with_prefix(const std::string& caption, const CaptionOptions& options) {
  return options.prefix.empty() ? caption : options.prefix + " " + caption;
}

}  // namespace

std::string draw_caption(const std::vector<std::string>& captions, bool is_list, const CaptionOptions& options,
                         PythonRandom& random) {
  std::string caption = captions.front();
  if (is_list) caption = captions[static_cast<size_t>(random.below(static_cast<int64_t>(captions.size())))];
  if (options.dropout_rate > 0 && random.random() < options.dropout_rate) return "";
  if (options.shuffle) caption = shuffled(caption, options, random);
  return with_prefix(caption, options);
}

std::vector<std::string> possible_captions(const std::vector<std::string>& captions, const CaptionOptions& options) {
  if (options.shuffle) return {};
  std::vector<std::string> texts;
  for (const auto& caption : captions) texts.push_back(with_prefix(caption, options));
  if (options.dropout_rate > 0) texts.emplace_back("");
  return texts;
}

}  // namespace lorikeet
