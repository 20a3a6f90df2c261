#include "lora/formats/textual_inversion.h"

#include <string_view>

#include "core/text.h"
#include "io/safetensors_header.h"

namespace lorikeet {
namespace {

constexpr std::string_view kBundle = "bundle_emb.";
constexpr std::string_view kParameter = "string_to_param.";
constexpr int64_t kMostVectors = 77;  // all that a text encoder reads
constexpr size_t kLongestWord = 200;  // bytes

}  // namespace

bool WordReader::take(const std::string& key, const torch::Tensor& tensor, LoraFile& file) {
  std::string word = stem_;
  std::string_view rest = key;
  const bool is_bundled = key.starts_with(kBundle);
  if (is_bundled) {
    rest.remove_prefix(kBundle.size());
    size_t end = rest.rfind("." + std::string(kParameter));
    if (end == std::string_view::npos) end = rest.rfind('.');
    if (end == std::string_view::npos || end == 0) return false;
    word = rest.substr(0, end);
    rest.remove_prefix(end + 1);
  } else if (const auto mark = metadata_.find(key); mark != metadata_.end() && mark->second == "<embed>") {
    add(key, key, tensor, file);
    return true;
  }
  if (rest.starts_with(kParameter)) {
    const auto name = metadata_.find("name");
    if (!is_bundled && name != metadata_.end() && !name->second.empty()) word = name->second;
    if (!is_bundled && rest != lorikeet::str(kParameter, "*")) word = rest.substr(kParameter.size());
  } else if (rest == "clip_g") {
    file.is_sdxl = true;
    file.unused.push_back({key, "a word for SDXL's second text encoder is not used"});
    return true;
  } else if (rest != "emb_params" && rest != "clip_l") {
    return false;
  }
  add(word, key, tensor, file);
  return true;
}

bool WordReader::may_be_word(const std::string& key, const torch::Tensor& tensor) {
  if (key.empty() || key.ends_with(".weight") || key.ends_with(".bias")) return false;
  return tensor.is_floating_point() && (tensor.dim() == 1 || tensor.dim() == 2) && tensor.numel() > 0 &&
         (tensor.dim() == 1 || tensor.size(0) <= kMostVectors);
}

void WordReader::add(const std::string& word, const std::string& key, const torch::Tensor& tensor, LoraFile& file) {
  if (tensor.dim() != 1 && tensor.dim() != 2) {
    reader_.fail(key,
                 lorikeet::str("has the shape ", tensor.sizes(), "; a word is one vector or several of one length"));
  }
  if (word.size() > kLongestWord) {
    file.unused.push_back({key, lorikeet::str("its word has ", word.size(), " bytes, which is too long")});
    return;
  }
  if (tensor.dim() == 2 && tensor.size(0) > kMostVectors) {
    file.unused.push_back({key, lorikeet::str("it is a word of ", tensor.size(0), " vectors; a text encoder reads ",
                                              kMostVectors, " in all")});
    return;
  }
  const auto vectors = reader_.read(key, tensor);
  const auto [there, is_new] = keys_.emplace(word, key);
  if (!is_new) reader_.fail(key, lorikeet::str("is the same word as ", quoted_tensor_name(there->second)));
  file.words.push_back({word, vectors.dim() == 1 ? vectors.unsqueeze(0) : vectors});
}

}  // namespace lorikeet
