#include "lora/formats/factor_names.h"

#include <array>

namespace lorikeet {
namespace {

struct Ending {
  std::string_view text;
  FactorName factor;
};

constexpr auto kPeft = LoraDialect::kPeft;
constexpr auto kKohya = LoraDialect::kKohya;
constexpr auto kDiffusers = LoraDialect::kDiffusers;
constexpr auto kOld = LoraDialect::kOldDiffusers;
constexpr auto kLora = ChangeKind::kLora;
constexpr auto kLoha = ChangeKind::kLoha;
constexpr auto kLokr = ChangeKind::kLokr;
constexpr auto kFull = ChangeKind::kFull;

constexpr std::array kEndings = {
    Ending{".lora_A.weight", {"down", kLora, kPeft}},
    Ending{".lora_B.weight", {"up", kLora, kPeft}},
    Ending{".lora_B.bias", {"up_bias", kLora, kPeft}},
    Ending{".lora_magnitude_vector.weight", {"peft_magnitude", {}, kPeft}},
    Ending{".lora_magnitude_vector", {"peft_magnitude", {}, kPeft}},
    Ending{".lora.down.weight", {"down", kLora, kDiffusers}},
    Ending{".lora.up.weight", {"up", kLora, kDiffusers}},
    Ending{".lora.up.bias", {"up_bias", kLora, kDiffusers}},
    Ending{".lora_linear_layer.down.weight", {"down", kLora, kDiffusers}},
    Ending{".lora_linear_layer.up.weight", {"up", kLora, kDiffusers}},
    Ending{"_lora.down.weight", {"down", kLora, kOld}},
    Ending{"_lora.up.weight", {"up", kLora, kOld}},
    Ending{"_lora.alpha", {"alpha", {}, kOld}},
    Ending{".lora_down.weight", {"down", kLora, kKohya}},
    Ending{".lora_up.weight", {"up", kLora, kKohya}},
    Ending{".lora_mid.weight", {"mid", kLora, kKohya}},
    Ending{".alpha", {"alpha", {}, kKohya}},
    Ending{".scale", {"scale", {}, kKohya}},
    Ending{".dora_scale", {"magnitude", {}, kKohya}},
    Ending{".hada_w1_a", {"w1_a", kLoha, kKohya}},
    Ending{".hada_w1_b", {"w1_b", kLoha, kKohya}},
    Ending{".hada_w2_a", {"w2_a", kLoha, kKohya}},
    Ending{".hada_w2_b", {"w2_b", kLoha, kKohya}},
    Ending{".hada_t1", {"t1", kLoha, kKohya}},
    Ending{".hada_t2", {"t2", kLoha, kKohya}},
    Ending{".lokr_w1", {"w1", kLokr, kKohya}},
    Ending{".lokr_w1_a", {"w1_a", kLokr, kKohya}},
    Ending{".lokr_w1_b", {"w1_b", kLokr, kKohya}},
    Ending{".lokr_w2", {"w2", kLokr, kKohya}},
    Ending{".lokr_w2_a", {"w2_a", kLokr, kKohya}},
    Ending{".lokr_w2_b", {"w2_b", kLokr, kKohya}},
    Ending{".lokr_t2", {"t2", kLokr, kKohya}},
    Ending{".diff", {"diff", kFull, kKohya}},
    Ending{".w_norm", {"diff", kFull, kKohya}},
    Ending{".diff_b", {"bias", {}, kKohya}},
    Ending{".b_norm", {"bias", {}, kKohya}},
};

struct Unknown {
  std::string_view part, reason;
};
constexpr std::array kUnknown = {
    Unknown{".oft_", "OFT, which turns a layer's weight, is not read"},
    Unknown{".boft_", "BOFT, which turns a layer's weight, is not read"},
    Unknown{".a1.weight", "GLoRA is not read"},
    Unknown{".a2.weight", "GLoRA is not read"},
    Unknown{".b1.weight", "GLoRA is not read"},
    Unknown{".b2.weight", "GLoRA is not read"},
    Unknown{".bm.weight", "GLoRA is not read"},
    Unknown{".on_input", "IA3 is not read"},
    Unknown{".scalar", "LyCORIS multiplies it into the factors itself; other programs do not use it"},
    Unknown{".lora_mid", "this spelling of the middle factor is not known"},
    Unknown{"_custom_diffusion", "custom diffusion is not read"},
    Unknown{".lora_embedding_", "a LoRA of the token embedding is not read"},
    Unknown{"lora_controlnet", "a ControlNet is not read"},
};

/// PEFT's own state dict has the adapter's name within: "x.lora_A.default.weight".
std::optional<SplitKey> split_named_adapter(std::string_view key) {
  constexpr std::string_view kParts[] = {".lora_A.", ".lora_B.", ".lora_magnitude_vector."};
  constexpr std::string_view kEnd = ".weight";
  if (!key.ends_with(kEnd)) return std::nullopt;
  for (const auto part : kParts) {
    const size_t found = key.rfind(part);
    if (found == std::string_view::npos || found + part.size() >= key.size() - kEnd.size()) continue;
    const size_t begin = found + part.size();
    if (key.substr(begin, key.size() - kEnd.size() - begin).find('.') != std::string_view::npos) continue;
    const bool is_down = part == kParts[0], is_up = part == kParts[1];
    if (is_down) return SplitKey{key.substr(0, found), {"down", kLora, kPeft}};
    if (is_up) return SplitKey{key.substr(0, found), {"up", kLora, kPeft}};
    return SplitKey{key.substr(0, found), {"peft_magnitude", {}, kPeft}};
  }
  return std::nullopt;
}

}  // namespace

std::optional<SplitKey> split_factor(std::string_view key) {
  for (const auto& [text, factor] : kEndings) {
    if (key.size() > text.size() && key.ends_with(text))
      return SplitKey{key.substr(0, key.size() - text.size()), factor};
  }
  return split_named_adapter(key);
}

std::string_view unknown_factor_reason(std::string_view key) {
  for (const auto& [part, reason] : kUnknown) {
    if (key.find(part) != std::string_view::npos) return reason;
  }
  return "it is no part of a LoRA that is known";
}

}  // namespace lorikeet
