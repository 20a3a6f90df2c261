#include "models/clip_tokenizer_added.h"

#include <algorithm>

#include "models/clip_tokenizer_text.h"

namespace lorikeet {

AddedTokens::AddedTokens(const std::vector<AddedToken>& tokens, const TokenIds& vocabulary) {
  std::map<uint32_t, AddedToken> by_id;
  const auto model_size = static_cast<uint32_t>(vocabulary.size());
  uint32_t next_id = model_size;
  for (const auto& token : tokens) {
    if (token.content.empty()) continue;
    const auto known = vocabulary.find(token.content);
    if (!ids_.contains(token.content)) {
      ids_[token.content] = known != vocabulary.end() ? known->second : next_id++;
    }
    by_id[ids_[token.content]] = token;
  }
  for (const auto& [id, token] : by_id) {
    const std::string text = token.is_normalized() ? normalize_clip_text(token.content) : token.content;
    if (text.empty()) continue;
    (token.is_normalized() ? normalized_ : as_given_)[text.front()].push_back({text, id, token});
  }
  for (auto* patterns : {&as_given_, &normalized_}) {
    for (auto& [first, list] : *patterns) {
      std::ranges::stable_sort(list, std::greater<>(), [](const Pattern& pattern) { return pattern.text.size(); });
    }
  }
}

const AddedTokens::Pattern* AddedTokens::longest_match(const Patterns& patterns, std::string_view text) {
  const auto list = patterns.find(text.front());
  if (list == patterns.end()) return nullptr;
  for (const auto& pattern : list->second) {
    if (text.starts_with(pattern.text)) return &pattern;
  }
  return nullptr;
}

void AddedTokens::cut(std::string_view text, const Patterns& patterns,
                      const std::function<void(std::string_view)>& between, std::vector<int64_t>& ids) {
  size_t done = 0;  // everything before has been handed out
  size_t at = 0;
  while (at < text.size()) {
    const Pattern* pattern = patterns.empty() ? nullptr : longest_match(patterns, text.substr(at));
    if (pattern == nullptr) {
      ++at;
      continue;
    }
    size_t start = at;
    size_t stop = at + pattern->text.size();
    at = stop;
    const auto before = text.substr(0, start), after = text.substr(stop);
    if (pattern->token.single_word && (ends_with_word(before) || starts_with_word(after))) continue;
    if (pattern->token.lstrip) start = std::max(start - trailing_space(before), done);
    if (pattern->token.rstrip) stop += leading_space(after);
    if (done < start) between(text.substr(done, start - done));
    ids.push_back(pattern->id);
    done = stop;
  }
  if (done < text.size()) between(text.substr(done));
}

void AddedTokens::split(std::string_view text, const std::function<void(std::string_view)>& encode,
                        std::vector<int64_t>& ids) const {
  const auto normalize_and_cut = [&](std::string_view stretch) {
    cut(normalize_clip_text(stretch), normalized_, encode, ids);
  };
  cut(text, as_given_, normalize_and_cut, ids);
}

std::map<uint32_t, std::string> AddedTokens::contents() const {
  std::map<uint32_t, std::string> contents;
  for (const auto* patterns : {&as_given_, &normalized_}) {
    for (const auto& [first, list] : *patterns) {
      for (const auto& pattern : list) contents[pattern.id] = pattern.text;
    }
  }
  return contents;
}

}  // namespace lorikeet
