// Learned words: within a LoRA file, and as files of their own.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lora/formats/lora_contents.h"

namespace lorikeet {

/// The words of one file, A1111's and Diffusers'.
class WordReader {
 public:
  /// A file without the word in it is called after it.
  WordReader(const std::map<std::string, std::string>& metadata, std::string file_stem, FactorReader& reader)
      : metadata_(metadata), stem_(std::move(file_stem)), reader_(reader) {}

  /// bundle_emb.NAME.string_to_param.*, cloneofsimo's words, string_to_param.*, emb_params, clip_l; false for other
  /// keys. What is for SDXL's second text encoder goes into `file.unused`. Throws FormatError.
  bool take(const std::string& key, const torch::Tensor& tensor, LoraFile& file);
  /// Whether this can be Diffusers' form, the word as key: a vector or several, and no weight's name.
  static bool may_be_word(const std::string& key, const torch::Tensor& tensor);
  void add(const std::string& word, const std::string& key, const torch::Tensor& tensor, LoraFile& file);

 private:
  const std::map<std::string, std::string>& metadata_;
  std::string stem_;
  FactorReader& reader_;
  std::map<std::string, std::string> keys_;  // by word
};

}  // namespace lorikeet
