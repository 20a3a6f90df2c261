// The files a CLIP tokenizer is kept in, read and checked, but not yet put to work. Free of torch.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "models/clip_tokenizer_bpe.h"

namespace lorikeet {

/// A token that is cut out of the text before anything else is done to it.
/// Source: AddedToken of https://github.com/huggingface/tokenizers.
struct AddedToken {
  std::string content;
  bool single_word = false, lstrip = false, rstrip = false, special = false;
  std::optional<bool> normalized;  // looked for in the normalized text, not in the text as given

  bool is_normalized() const { return normalized.value_or(!special); }
  bool operator==(const AddedToken& other) const;
};

struct TokenizerFiles {
  std::string origin;  // the file that vocabulary and merges came from
  TokenIds vocabulary;
  Merges merges;
  std::vector<AddedToken> added;  // in the order in which they get ids, where the vocabulary has none for them
  std::string start, end, unknown, pad;
  int64_t model_max_length = 0;
};

/// Throws as CLIPTokenizer::from_folder.
TokenizerFiles read_tokenizer_files(const std::filesystem::path& folder);

}  // namespace lorikeet
