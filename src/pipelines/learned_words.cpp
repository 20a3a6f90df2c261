#include "pipelines/learned_words.h"

#include <algorithm>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {

void LearnedWords::add(const std::string& owner, const std::vector<LearnedWord>& words) {
  if (words.empty()) return;
  if (!own_tokenizer_) {
    own_tokenizer_ = components_.tokenizer;
    own_tokens_ = components_.text_encoder->token_count();
  }
  words_.emplace_back(owner, words);
  try {
    apply();
  } catch (...) {
    words_.pop_back();
    throw;
  }
}

void LearnedWords::remove(const std::string& owner) {
  const auto before = words_.size();
  std::erase_if(words_, [&](const auto& entry) { return entry.first == owner; });
  if (words_.size() != before) apply();
}

void LearnedWords::apply() {
  torch::NoGradGuard no_grad;
  auto& table = components_.text_encoder->token_embeddings();
  const auto own = table.weight.detach().slice(0, 0, own_tokens_);
  std::vector<CLIPTokenizer::NewWord> new_words;
  for (const auto& [owner, words] : words_) {
    for (const auto& word : words) {
      if (word.vectors.dim() != 2 || word.vectors.size(0) < 1 || word.vectors.size(1) != own.size(1)) {
        throw FormatError(lorikeet::str("the vectors of the word '", word.word, "' are ", word.vectors.sizes(),
                                        ", but the text encoder's have ", own.size(1), " numbers"),
                          "was the word learned for another base model?");
      }
      new_words.push_back({word.word, word.vectors.size(0)});
    }
  }
  auto tokenizer = std::make_shared<CLIPTokenizer>(own_tokenizer_->with_words(new_words));
  auto extended = torch::zeros({std::max(own.size(0), tokenizer->vocabulary_size()), own.size(1)}, own.options());
  extended.slice(0, 0, own.size(0)).copy_(own);
  for (const auto& [owner, words] : words_) {
    for (const auto& word : words) {
      for (int64_t i = 0; i < word.vectors.size(0); ++i) {
        const auto token = i == 0 ? word.word : lorikeet::str(word.word, "_", i);
        extended[*tokenizer->token_id(token)].copy_(word.vectors[i]);
      }
    }
  }
  table.weight.set_data(extended);
  components_.tokenizer = std::move(tokenizer);
}

}  // namespace lorikeet
