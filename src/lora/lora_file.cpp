#include "lora/lora_file.h"

#include <algorithm>

#include "core/errors.h"
#include "core/text.h"
#include "io/safetensors_header.h"
#include "lora/formats/cloneofsimo.h"
#include "lora/formats/diffusers_keys.h"
#include "lora/formats/kohya_keys.h"
#include "lora/formats/layer_table.h"
#include "lora/formats/lora_contents.h"
#include "lora/formats/peft_metadata.h"
#include "lora/formats/textual_inversion.h"

namespace lorikeet {
namespace {

// Three times the longest that any program writes; with a layer's path and what each dialect puts around it.
constexpr size_t kLongestKey = 300, kLongestPath = 240;

/// The road of every key into its place.
class Reading {
 public:
  Reading(const std::filesystem::path& path, const BlockOrder& order)
      : path_(path), order_(order), reader_(path), table_(reader_) {}

  LoraFile run() {
    auto contents = open_lora_contents(path_);
    file_.unused = std::move(contents.unused);
    if (contents.is_list) {
      take_list(contents.list);
    } else {
      take_tensors(contents);
    }
    file_.metadata = std::move(contents.metadata);
    pairs_.place(order_, table_, reader_);
    table_.finish(PeftMetadata(file_.metadata, path_), file_);
    if (table_.is_empty() && !file_.words.empty()) file_.dialect = LoraDialect::kTextualInversion;
    check_any();
    std::sort(file_.words.begin(), file_.words.end(),
              [](const LearnedWord& left, const LearnedWord& right) { return left.word < right.word; });
    return std::move(file_);
  }

 private:
  void take_tensors(const LoraContents& contents) {
    WordReader words(contents.metadata, path_.stem().string(), reader_);
    NamedTensors strange;
    for (const auto& [key, tensor] : contents.tensors) {
      if (key.size() > kLongestKey) {
        leave_out(key, "its name is too long");
      } else if (!pairs_.take(key, tensor, reader_) && !words.take(key, tensor, file_) && !take_layer(key, tensor)) {
        strange.emplace_back(key, tensor);
      }
    }
    // Diffusers calls a tensor by its word and nothing else: only a file of nothing but such can be told.
    const bool are_words = table_.is_empty() && file_.words.empty() && file_.unused.empty() &&
                           std::all_of(strange.begin(), strange.end(), [](const auto& entry) {
                             return WordReader::may_be_word(entry.first, entry.second);
                           });
    for (const auto& [key, tensor] : strange) {
      if (are_words) {
        words.add(key, key, tensor, file_);
      } else {
        leave_out(key, is_kohya_key(key) ? read_kohya_key(key).reason : read_diffusers_key(key).reason);
      }
    }
  }

  bool take_layer(const std::string& key, const torch::Tensor& tensor) {
    const auto reading = is_kohya_key(key) ? read_kohya_key(key) : read_diffusers_key(key);
    if (!reading.layer) return false;
    if (reading.layer->path.size() > kLongestPath) {
      leave_out(key, "its name is too long");
      return true;
    }
    table_.add(*reading.layer, key, tensor);
    if (key.starts_with("lora_te1_")) file_.is_sdxl = true;
    return true;
  }

  /// NAME.pt; the text encoder's pairs and the words lie in files beside it.
  void take_list(const std::vector<torch::Tensor>& list) {
    const std::string text_end = ".text_encoder.pt";
    const std::string name = path_.string();
    if (name.ends_with(text_end)) return pairs_.take_list(LoraComponent::kTextEncoder, list, reader_);
    pairs_.take_list(LoraComponent::kUnet, list, reader_);
    const std::string stem = name.substr(0, name.size() - path_.extension().string().size());
    if (std::filesystem::exists(stem + text_end)) {
      FactorReader reader(stem + text_end);
      const auto beside = open_lora_contents(stem + text_end);
      if (!beside.is_list) throw FormatError(stem + text_end + " holds no list of pairs, as its name says");
      pairs_.take_list(LoraComponent::kTextEncoder, beside.list, reader);
    }
    const std::string words_file = stem + ".ti.pt";
    if (!std::filesystem::exists(words_file)) return;
    FactorReader reader(words_file);
    const auto beside = open_lora_contents(words_file);
    WordReader words(beside.metadata, path_.stem().string(), reader);
    for (const auto& [word, vectors] : beside.tensors) words.add(word, word, vectors, file_);
  }

  void leave_out(const std::string& key, const std::string& reason) { file_.unused.push_back({key, reason}); }

  void check_any() const {
    const bool has_layers = !file_.unet.empty() || !file_.text_encoder.empty() || !file_.text_encoder_2.empty();
    if (has_layers || !file_.words.empty()) return;
    if (file_.unused.empty()) throw FormatError(lorikeet::str(path_.string(), ": there is no tensor in it"));
    const auto& first = file_.unused.front();
    throw FormatError(
        lorikeet::str(path_.string(), ": nothing in it is known as part of a LoRA; ", quoted_tensor_name(first.key),
                      ": ", first.reason,
                      file_.unused.size() > 1 ? lorikeet::str(", and ", file_.unused.size() - 1, " more") : ""),
        "expected keys such as unet.….lora_A.weight or lora_unet_….lora_down.weight");
  }

  const std::filesystem::path& path_;
  const BlockOrder& order_;
  FactorReader reader_;
  LayerTable table_;
  NumberedPairs pairs_;
  LoraFile file_;
};

}  // namespace

const char* dialect_name(LoraDialect dialect) {
  switch (dialect) {
    case LoraDialect::kDiffusers:
      return "diffusers";
    case LoraDialect::kPeft:
      return "peft";
    case LoraDialect::kOldDiffusers:
      return "old diffusers";
    case LoraDialect::kKohya:
      return "kohya";
    case LoraDialect::kCloneofsimo:
      return "cloneofsimo";
    case LoraDialect::kTextualInversion:
      break;
  }
  return "textual inversion";
}

BlockOrder stable_diffusion_blocks() {
  BlockOrder order;
  const auto add = [&](const std::string& block, int layers) {
    for (int i = 0; i < layers; ++i) {
      order.transformer_blocks.push_back(lorikeet::str(block, ".attentions.", i, ".transformer_blocks.0"));
    }
  };
  for (int i = 0; i < 3; ++i) add(lorikeet::str("down_blocks.", i), 2);
  for (int i = 1; i < 4; ++i) add(lorikeet::str("up_blocks.", i), 3);
  add("mid_block", 1);
  return order;
}

LoraFile read_lora_file(const std::filesystem::path& path, const BlockOrder& order) {
  torch::NoGradGuard no_grad;
  const auto file = find_lora_file(path);
  return Reading(file, order).run();
}

}  // namespace lorikeet
