#include "lora/formats/kohya_metadata.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "core/digest.h"
#include "lora/formats/dialect_tensors.h"

namespace lorikeet {
namespace {

using Metadata = std::map<std::string, std::string>;

struct Family {
  const char* version;
  const char* is_v2;
  const char* architecture;
  const char* implementation;
};
constexpr Family kSd1{"sd_v1", "False", "stable-diffusion-v1", "diffusers"};
constexpr Family kSd2{"sd_v2", "True", "stable-diffusion-v2-512", "diffusers"};
constexpr Family kSdxl{"sdxl_base_v1-0", "False", "stable-diffusion-xl-v1-base",
                       "https://github.com/Stability-AI/generative-models"};

int64_t flat_columns(const torch::Tensor& tensor) { return tensor.numel() / std::max<int64_t>(1, tensor.size(0)); }

/// How many inputs a linear layer with this change has; 0 when it does not tell.
int64_t input_width(const LayerChange& change) {
  const auto columns = [&](const std::string& whole, const std::string& second) -> int64_t {
    if (change.has(whole)) return flat_columns(change.get(whole));
    return change.has(second) ? flat_columns(change.get(second)) : 0;
  };
  if (change.kind == ChangeKind::kLokr) return columns("w1", "w1_b") * columns("w2", "w2_b");
  return columns(change.kind == ChangeKind::kLora ? "down" : "diff", "w1_b");
}

/// Cross-attention's keys and values read the text encoder's states: 768 wide in SD 1, 1024 in SD 2, 2048 in SDXL.
Family family_of(const LoraFile& file) {
  if (file.is_sdxl || !file.text_encoder_2.empty()) return kSdxl;
  std::set<int64_t> widths;
  for (const auto& change : file.unet) {
    if (change.path.ends_with("attn2.to_k") || change.path.ends_with("attn2.to_v")) widths.insert(input_width(change));
  }
  for (const auto& change : file.text_encoder) {
    if (change.path.ends_with("q_proj") || change.path.ends_with("k_proj")) widths.insert(input_width(change));
  }
  if (widths.contains(2048)) return kSdxl;
  return widths.contains(1024) ? kSd2 : kSd1;
}

bool is_wide_convolution(const LayerChange& change) {
  if (change.has("mid") || change.has("t1") || change.has("t2")) return true;
  const auto down = change.get("down");
  return down.defined() && down.dim() == 4 && down.size(2) * down.size(3) > 1;
}

/// The ranks and alphas of linear layers (wide: of the other convolutions).
struct Sizes {
  std::set<int64_t> ranks;
  std::set<double> alphas;

  Sizes(const LoraFile& file, bool wide) {
    for (const auto& model : model_layers(file)) {
      for (const auto& change : *model.layers) {
        const int64_t rank = change_rank(change);
        if (rank == 0 || is_wide_convolution(change) != wide) continue;
        ranks.insert(rank);
        alphas.insert(change.strength * static_cast<double>(rank));
      }
    }
  }
  static std::string text(double number) { return nlohmann::json(number).dump(); }
  /// kohya's resize script says Dynamic where layers differ.
  std::string rank_text() const { return ranks.size() == 1 ? std::to_string(*ranks.begin()) : "Dynamic"; }
  std::string alpha_text() const { return alphas.size() == 1 ? text(*alphas.begin()) : "Dynamic"; }
};

bool has_dora(const LoraFile& file) {
  for (const auto& model : model_layers(file)) {
    if (std::any_of(model.layers->begin(), model.layers->end(), [](const auto& c) { return c.is_dora(); })) return true;
  }
  return false;
}

/// The kind that most layers have, in LyCORIS' words; "lora" when kohya's own network module holds all of it.
std::string algorithm(const LoraFile& file) {
  std::map<ChangeKind, int64_t> counts;
  for (const auto& model : model_layers(file)) {
    for (const auto& change : *model.layers) ++counts[change.kind];
  }
  if (counts.size() == 1 && counts.contains(ChangeKind::kLora)) return has_dora(file) ? "locon" : "lora";
  const auto usual = std::max_element(counts.begin(), counts.end(),
                                      [](const auto& left, const auto& right) { return left.second < right.second; });
  if (usual == counts.end()) return "lora";
  return usual->first == ChangeKind::kLora ? "locon" : kind_name(usual->first);
}

void set_network(Metadata& metadata, const LoraFile& file) {
  const Sizes linear(file, /*wide=*/false), wide(file, /*wide=*/true);
  const auto algo = algorithm(file);
  nlohmann::json arguments = nlohmann::json::object();
  if (algo != "lora") arguments["algo"] = algo;
  if (has_dora(file)) arguments["dora_wd"] = "True";
  if (!wide.ranks.empty()) {
    arguments["conv_dim"] = wide.rank_text();
    arguments["conv_alpha"] = wide.alpha_text();
  }
  for (const char* key : {"ss_network_dim", "ss_network_alpha", "ss_network_args"}) metadata.erase(key);
  metadata["ss_network_module"] = algo == "lora" ? "networks.lora" : "lycoris.kohya";
  const auto& main = linear.ranks.empty() ? wide : linear;
  if (!main.ranks.empty()) {
    metadata["ss_network_dim"] = main.rank_text();
    metadata["ss_network_alpha"] = main.alpha_text();
  }
  if (!arguments.empty()) metadata["ss_network_args"] = arguments.dump();
}

}  // namespace

Metadata kohya_metadata(const LoraFile& file, const std::string& title, Metadata given) {
  const auto family = family_of(file);
  set_network(given, file);
  given.emplace("ss_base_model_version", family.version);
  given.emplace("ss_v2", family.is_v2);
  given.emplace("ss_output_name", title);
  given.emplace("modelspec.sai_model_spec", "1.0.0");
  given.emplace("modelspec.architecture", std::string(family.architecture) + "/lora");
  given.emplace("modelspec.implementation", family.implementation);
  given.emplace("modelspec.title", given.at("ss_output_name"));
  return given;
}

void add_kohya_hashes(const NamedTensors& tensors, Metadata& metadata) {
  constexpr size_t kLegacyBegin = 0x100000, kLegacyBytes = 0x10000;
  Metadata training;
  for (const auto& entry : metadata) {
    if (entry.first.starts_with("ss_")) training.insert(entry);
  }
  const std::string bytes = safetensors_bytes(tensors, training);
  const std::string_view view = bytes;
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  const auto digest = sha256_hex(view.substr(sizeof header + header));
  const auto legacy = view.substr(std::min(kLegacyBegin, view.size()), kLegacyBytes);
  metadata["sshs_model_hash"] = digest;
  metadata["sshs_legacy_hash"] = sha256_hex(legacy).substr(0, 8);
  metadata["modelspec.hash_sha256"] = "0x" + digest;
}

}  // namespace lorikeet
