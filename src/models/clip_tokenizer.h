// Text to token ids, as Transformers' CLIPTokenizer does it. Free of torch.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lorikeet {

/// Both have the same size; the mask is 1 for tokens of the text (start and end included) and 0 for padding.
struct EncodedText {
  std::vector<int64_t> ids;
  std::vector<int64_t> attention_mask;
};

/// Lowercased byte-level BPE. Immutable and cheap to copy; one may be used by several threads at once.
/// Source: transformers.CLIPTokenizer (5.x) and the `tokenizers` pipeline that it sets up.
class CLIPTokenizer {
 public:
  /// Reads vocab.json and merges.txt, or else tokenizer.json; and, where there, tokenizer_config.json,
  /// special_tokens_map.json and added_tokens.json. Throws FileError when they are missing, FormatError naming file,
  /// what is in it and what was expected.
  static CLIPTokenizer from_folder(const std::filesystem::path& folder);

  /// A word that stands for `vectors` tokens in a row, which get the next free ids.
  struct NewWord {
    std::string text;
    int64_t vectors = 1;
  };
  /// The same tokenizer with more words; each is one token in the text, WORD, followed by WORD_1, WORD_2 ... that come
  /// by themselves. Throws FormatError for a word that is a token already, or empty. Source: textual inversion in
  /// Diffusers.
  CLIPTokenizer with_words(const std::vector<NewWord>& words) const;
  /// The id of a token as it stands in the vocabulary, or nothing.
  std::optional<int64_t> token_id(const std::string& token) const;

  /// How many tokens the text encoder reads, start and end included (77); what the files say.
  int64_t model_max_length() const;
  /// One more than the largest id.
  int64_t vocabulary_size() const;
  int64_t start_id() const;
  int64_t end_id() const;
  int64_t pad_id() const;

  /// Start, the text's tokens, end; neither cut nor padded. Bytes that are not UTF-8 become U+FFFD.
  std::vector<int64_t> encode(std::string_view text) const;
  /// The same cut (the end token stays last) and padded to exactly `max_length` tokens.
  /// Throws UsageError when max_length is below 2.
  EncodedText encode(std::string_view text, int64_t max_length) const;
  /// The ids of encode(text, model_max_length()).
  std::vector<int64_t> encode_padded(std::string_view text) const;

  /// Text for people: lower case, words apart by one space. Throws UsageError for an id that stands for nothing.
  std::string decode(const std::vector<int64_t>& ids) const;

 private:
  struct Vocabulary;
  explicit CLIPTokenizer(std::shared_ptr<const Vocabulary> vocabulary);
  std::shared_ptr<const Vocabulary> vocabulary_;
};

}  // namespace lorikeet
