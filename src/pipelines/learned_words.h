// Textual inversion: new words for tokenizer and text encoder.
// Source: load_textual_inversion of Diffusers; Gal et al. 2022, https://arxiv.org/abs/2208.01618.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lora/lora_file.h"
#include "pipelines/components.h"

namespace lorikeet {

/// The words a model has been given, by whom. Works on the components it is given, which must outlive it.
class LearnedWords {
 public:
  explicit LearnedWords(StableDiffusionComponents& components) : components_(components) {}

  /// Gives tokenizer and text encoder the words; one of n vectors stands for n tokens, WORD, WORD_1 ... WORD_n-1.
  /// Throws FormatError for vectors of another width than the text encoder's, and for a word that is a token already;
  /// then nothing has changed.
  void add(const std::string& owner, const std::vector<LearnedWord>& words);
  /// Takes the owner's words out again; those of others may get other ids.
  void remove(const std::string& owner);

 private:
  void apply();

  StableDiffusionComponents& components_;
  std::shared_ptr<CLIPTokenizer> own_tokenizer_;  // without learned words; null while there are none
  int64_t own_tokens_ = 0;
  std::vector<std::pair<std::string, std::vector<LearnedWord>>> words_;
};

}  // namespace lorikeet
