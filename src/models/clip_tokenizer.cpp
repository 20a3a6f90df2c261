#include "models/clip_tokenizer.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "core/errors.h"
#include "core/text.h"
#include "models/clip_tokenizer_added.h"
#include "models/clip_tokenizer_bpe.h"
#include "models/clip_tokenizer_files.h"
#include "models/clip_tokenizer_text.h"

namespace lorikeet {
namespace {

/// The bytes that a token's symbols stand for; a token with any other character stands for itself.
std::string bytes_of_token(const std::string& token) {
  static const auto bytes_of_symbols = [] {
    std::unordered_map<std::string, char> bytes;
    for (size_t byte = 0; byte < 256; ++byte) bytes[byte_alphabet()[byte]] = static_cast<char>(byte);
    return bytes;
  }();
  std::string bytes;
  for (size_t at = 0; at < token.size();) {
    const size_t length = (token[at] & 0x80) == 0 ? 1 : 2;  // no symbol of the alphabet is longer
    const auto found = bytes_of_symbols.find(token.substr(at, length));
    if (found == bytes_of_symbols.end()) return token;
    bytes += found->second;
    at += length;
  }
  return bytes;
}

}  // namespace

struct CLIPTokenizer::Vocabulary {
  explicit Vocabulary(TokenizerFiles read)
      : files(std::move(read)),
        encoder(files.vocabulary, files.merges, files.unknown, files.origin),
        added(files.added, files.vocabulary),
        model_max_length(files.model_max_length) {
    for (const auto& [content, id] : files.vocabulary) contents[id] = content;
    for (const auto& [id, content] : added.contents()) contents[id] = content;
    for (const auto& [id, content] : contents) size = std::max<int64_t>(size, int64_t{id} + 1);
    start = id_of(files.start);
    end = id_of(files.end);
    pad = id_of(files.pad);
  }

  int64_t id_of(const std::string& token) const {
    if (const auto found = added.ids().find(token); found != added.ids().end()) return found->second;
    throw FormatError(str(files.origin, ": no id for the token '", token, "'"));
  }

  TokenizerFiles files;
  BytePairEncoder encoder;
  AddedTokens added;
  std::unordered_map<uint32_t, std::string> contents;
  std::map<int64_t, std::vector<int64_t>> followers;  // what comes by itself behind a word of several vectors
  int64_t model_max_length, start = 0, end = 0, pad = 0, size = 0;
};

CLIPTokenizer::CLIPTokenizer(std::shared_ptr<const Vocabulary> vocabulary) : vocabulary_(std::move(vocabulary)) {}

CLIPTokenizer CLIPTokenizer::from_folder(const std::filesystem::path& folder) {
  return CLIPTokenizer(std::make_shared<const Vocabulary>(read_tokenizer_files(folder)));
}

std::optional<int64_t> CLIPTokenizer::token_id(const std::string& token) const {
  const auto& added = vocabulary_->added.ids();
  if (const auto found = added.find(token); found != added.end()) return found->second;
  const auto& known = vocabulary_->files.vocabulary;
  if (const auto found = known.find(token); found != known.end()) return found->second;
  return std::nullopt;
}

CLIPTokenizer CLIPTokenizer::with_words(const std::vector<NewWord>& words) const {
  auto files = vocabulary_->files;
  const auto add = [&](const std::string& token) {
    if (token.empty() || token_id(token)) {
      throw FormatError(str("the word '", token, "' is ", token.empty() ? "empty" : "a token of the model already"),
                        "give the learned word another name");
    }
    files.added.push_back({.content = token});
  };
  for (const auto& word : words) {
    add(word.text);
    for (int64_t i = 1; i < word.vectors; ++i) add(str(word.text, "_", i));
  }
  auto extended = std::make_shared<Vocabulary>(std::move(files));
  extended->followers = vocabulary_->followers;
  for (const auto& word : words) {
    auto& ids = extended->followers[extended->id_of(word.text)];
    for (int64_t i = 1; i < word.vectors; ++i) ids.push_back(extended->id_of(str(word.text, "_", i)));
  }
  return CLIPTokenizer(std::move(extended));
}

int64_t CLIPTokenizer::model_max_length() const { return vocabulary_->model_max_length; }
int64_t CLIPTokenizer::vocabulary_size() const { return vocabulary_->size; }
int64_t CLIPTokenizer::start_id() const { return vocabulary_->start; }
int64_t CLIPTokenizer::end_id() const { return vocabulary_->end; }
int64_t CLIPTokenizer::pad_id() const { return vocabulary_->pad; }

std::vector<int64_t> CLIPTokenizer::encode(std::string_view text) const {
  std::vector<int64_t> ids{vocabulary_->start};
  const auto encode_words = [&](std::string_view normalized) {
    for (const auto word : split_clip_words(normalized)) vocabulary_->encoder.encode(word, ids);
  };
  vocabulary_->added.split(as_utf8(text), encode_words, ids);
  if (!vocabulary_->followers.empty()) {
    std::vector<int64_t> whole;
    for (const int64_t id : ids) {
      whole.push_back(id);
      const auto found = vocabulary_->followers.find(id);
      if (found != vocabulary_->followers.end()) {
        whole.insert(whole.end(), found->second.begin(), found->second.end());
      }
    }
    ids.swap(whole);
  }
  ids.push_back(vocabulary_->end);
  return ids;
}

EncodedText CLIPTokenizer::encode(std::string_view text, int64_t max_length) const {
  if (max_length < 2) {
    throw UsageError(str("a text cannot be cut to ", max_length, " tokens; its start and end take 2"));
  }
  EncodedText encoded;
  encoded.ids = encode(text);
  const auto length = static_cast<size_t>(max_length);
  if (encoded.ids.size() > length) {
    encoded.ids.resize(length);
    encoded.ids.back() = vocabulary_->end;
  }
  encoded.attention_mask.assign(encoded.ids.size(), 1);
  encoded.ids.resize(length, vocabulary_->pad);
  encoded.attention_mask.resize(length, 0);
  return encoded;
}

std::vector<int64_t> CLIPTokenizer::encode_padded(std::string_view text) const {
  return encode(text, model_max_length()).ids;
}

std::string CLIPTokenizer::decode(const std::vector<int64_t>& ids) const {
  std::string bytes;
  for (const int64_t id : ids) {
    const auto found = vocabulary_->contents.find(static_cast<uint32_t>(id));
    if (id < 0 || id >= vocabulary_->size || found == vocabulary_->contents.end()) {
      throw UsageError(str("no token has the id ", id, "; expected 0 to ", vocabulary_->size - 1));
    }
    bytes += bytes_of_token(found->second);
  }
  std::string text = as_utf8(bytes);
  for (size_t at = text.find(kWordEnd); at != std::string::npos; at = text.find(kWordEnd, at)) {
    text.replace(at, kWordEnd.size(), " ");
  }
  return strip_like_python(text);
}

}  // namespace lorikeet
