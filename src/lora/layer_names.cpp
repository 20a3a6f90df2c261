#include "lora/layer_names.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace lorikeet {
namespace {

using Words = std::vector<std::string_view>;

/// All that a layer's path is made of, numbers aside; none has more than kMostParts parts.
const std::unordered_set<std::string_view>& vocabulary() {
  static const std::unordered_set<std::string_view> words = {
      // Diffusers' UNet
      "conv_in", "conv_out", "conv_norm_out", "time_embedding", "add_embedding", "linear_1", "linear_2", "cond_proj",
      "down_blocks", "up_blocks", "mid_block", "attentions", "resnets", "downsamplers", "upsamplers", "conv", "conv1",
      "conv2", "conv_shortcut", "time_emb_proj", "norm", "norm1", "norm2", "norm3", "proj_in", "proj_out",
      "transformer_blocks", "attn1", "attn2", "to_q", "to_k", "to_v", "to_out", "ff", "net", "proj",
      // the original UNet
      "input_blocks", "middle_block", "output_blocks", "time_embed", "label_emb", "in_layers", "out_layers",
      "emb_layers", "skip_connection", "op", "out",
      // CLIP
      "text_model", "text_projection", "embeddings", "token_embedding", "position_embedding", "encoder", "layers",
      "self_attn", "q_proj", "k_proj", "v_proj", "out_proj", "mlp", "fc1", "fc2", "layer_norm1", "layer_norm2",
      "final_layer_norm"};
  return words;
}
constexpr size_t kMostParts = 3;

Words split(std::string_view text, char separator) {
  Words parts;
  while (true) {
    const size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

bool is_number(std::string_view word) {
  return !word.empty() && std::all_of(word.begin(), word.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// 0 to 99, or -1.
int small_number(std::string_view word) {
  if (!is_number(word) || word.size() > 2) return -1;
  return word.size() == 1 ? word[0] - '0' : (word[0] - '0') * 10 + word[1] - '0';
}

struct Renaming {
  std::string_view original, diffusers;
};

constexpr std::array<Renaming, 7> kOutsideBlocks{{{"input_blocks.0.0", "conv_in"},
                                                  {"out.0", "conv_norm_out"},
                                                  {"out.2", "conv_out"},
                                                  {"time_embed.0", "time_embedding.linear_1"},
                                                  {"time_embed.2", "time_embedding.linear_2"},
                                                  {"label_emb.0.0", "add_embedding.linear_1"},
                                                  {"label_emb.0.2", "add_embedding.linear_2"}}};

constexpr std::array<Renaming, 6> kInResnet{{{"in_layers.0", "norm1"},
                                             {"in_layers.2", "conv1"},
                                             {"emb_layers.1", "time_emb_proj"},
                                             {"out_layers.0", "norm2"},
                                             {"out_layers.3", "conv2"},
                                             {"skip_connection", "conv_shortcut"}}};

template <class Table>
std::optional<std::string> renamed(const Table& table, std::string_view name) {
  for (const auto& [original, diffusers] : table) {
    if (original == name) return std::string(diffusers);
  }
  return std::nullopt;
}

std::optional<std::string> in_resnet(const std::string& resnet, std::string_view rest) {
  const auto name = renamed(kInResnet, rest);
  if (!name) return std::nullopt;
  return resnet + "." + *name;
}

std::optional<std::string> input_block_path(int n, int inner, std::string_view rest) {
  if (n < 1 || n > 11) return std::nullopt;
  const std::string block = "down_blocks." + std::to_string((n - 1) / 3) + ".";
  const std::string layer = std::to_string((n - 1) % 3);
  if (layer == "2") {
    if (inner != 0 || rest != "op") return std::nullopt;
    return block + "downsamplers.0.conv";
  }
  if (inner == 0) return in_resnet(block + "resnets." + layer, rest);
  if (inner != 1) return std::nullopt;
  return block + "attentions." + layer + "." + std::string(rest);
}

std::optional<std::string> output_block_path(int n, int inner, std::string_view rest) {
  if (n < 0 || n > 11) return std::nullopt;
  const std::string block = "up_blocks." + std::to_string(n / 3) + ".";
  const std::string layer = std::to_string(n % 3);
  if (inner == 0) return in_resnet(block + "resnets." + layer, rest);
  // The upsampler comes second where a block has no attention.
  if (rest == "conv" && (inner == 1 || inner == 2)) return block + "upsamplers.0.conv";
  if (inner != 1) return std::nullopt;
  return block + "attentions." + layer + "." + std::string(rest);
}

std::optional<std::string> middle_block_path(int n, std::string_view rest) {
  if (n == 1) return "mid_block.attentions.0." + std::string(rest);
  if (n != 0 && n != 2) return std::nullopt;
  return in_resnet("mid_block.resnets." + std::to_string(n / 2), rest);
}

}  // namespace

std::string underscored_name(std::string_view path) {
  std::string name(path);
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

std::optional<std::string> dotted_path(std::string_view underscored) {
  const Words parts = split(underscored, '_');
  std::string path;
  for (size_t begin = 0; begin < parts.size();) {
    // The longest word that begins here: "conv_norm_out" rather than "conv".
    size_t count = std::min(kMostParts, parts.size() - begin);
    std::string_view word;
    for (; count > 0; --count) {
      const char* const end = parts[begin + count - 1].data() + parts[begin + count - 1].size();
      word = {parts[begin].data(), static_cast<size_t>(end - parts[begin].data())};
      if (vocabulary().contains(word) || (count == 1 && is_number(word))) break;
    }
    if (count == 0) return std::nullopt;
    if (!path.empty()) path += '.';
    path += word;
    begin += count;
  }
  return path;
}

bool is_original_path(std::string_view path) {
  const std::string_view first = path.substr(0, path.find('.'));
  constexpr std::array<std::string_view, 6> kFirst = {"input_blocks", "middle_block", "output_blocks",
                                                      "time_embed",   "label_emb",    "out"};
  return std::find(kFirst.begin(), kFirst.end(), first) != kFirst.end();
}

std::optional<std::string> diffusers_path(std::string_view original) {
  if (const auto path = renamed(kOutsideBlocks, original)) return path;
  const auto rest_after = [&](const Words& words, size_t count) {
    return original.substr(static_cast<size_t>(words[count].data() - original.data()));
  };
  const Words words = split(original, '.');
  if (words.size() < 3) return std::nullopt;
  const int n = small_number(words[1]);
  if (words[0] == "middle_block") return middle_block_path(n, rest_after(words, 2));
  if (words.size() < 4) return std::nullopt;
  const int inner = small_number(words[2]);
  if (words[0] == "input_blocks") return input_block_path(n, inner, rest_after(words, 3));
  if (words[0] == "output_blocks") return output_block_path(n, inner, rest_after(words, 3));
  return std::nullopt;
}

}  // namespace lorikeet
