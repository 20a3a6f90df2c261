// Cuts added tokens out of a text before the rest of it is tokenized. Free of torch.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "models/clip_tokenizer_files.h"

namespace lorikeet {

/// Source: AddedVocabulary of https://github.com/huggingface/tokenizers.
class AddedTokens {
 public:
  /// Gives each token its id: the vocabulary's, or the next free one. Empty tokens are left out.
  AddedTokens(const std::vector<AddedToken>& tokens, const TokenIds& vocabulary);

  /// Appends the ids of `text`: those of the added tokens found, and what `encode` appends for each normalized
  /// stretch between them.
  void split(std::string_view text, const std::function<void(std::string_view)>& encode,
             std::vector<int64_t>& ids) const;

  /// Ids by content.
  const std::map<std::string, uint32_t>& ids() const { return ids_; }
  /// By id: the text that decoding puts in its place.
  std::map<uint32_t, std::string> contents() const;

 private:
  struct Pattern {
    std::string text;
    uint32_t id;
    AddedToken token;
  };
  /// Patterns by their first byte, the longest first.
  using Patterns = std::map<char, std::vector<Pattern>>;

  static const Pattern* longest_match(const Patterns& patterns, std::string_view text);
  static void cut(std::string_view text, const Patterns& patterns, const std::function<void(std::string_view)>& between,
                  std::vector<int64_t>& ids);

  std::map<std::string, uint32_t> ids_;
  Patterns as_given_, normalized_;
};

}  // namespace lorikeet
