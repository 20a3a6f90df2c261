#include "pipelines/original_part.h"

#include <torch/types.h>

#include <algorithm>
#include <array>
#include <unordered_map>

#include "core/errors.h"
#include "core/text.h"
#include "io/safetensors_header.h"
#include "pipelines/original_layout.h"

namespace lorikeet {
namespace {

/// Where a tensor is in the file: whole, or one third of in_proj.
struct Place {
  std::string original;
  int third = -1;
};

/// q, k and v of an attention, in the order in which in_proj holds them.
constexpr std::array<const char*, 3> kThirds = {"q_proj", "k_proj", "v_proj"};

class PartSource : public WeightSource {
 public:
  PartSource(std::shared_ptr<const WeightSource> file, std::string part)
      : file_(std::move(file)), part_(std::move(part)) {}

  void add(const std::string& name, Place place) {
    if (!places_.emplace(name, place).second) {
      throw FormatError(str(description(), ": ", quoted_tensor_name(place.original), " and ",
                            quoted_tensor_name(places_.at(name).original), " are the same tensor"));
    }
    names_.push_back(name);
  }

  std::vector<std::string> names() const override { return names_; }
  bool contains(const std::string& name) const override { return places_.contains(name); }
  std::string description() const override { return str(file_->description(), " (", part_, ")"); }

  torch::Tensor tensor(const std::string& name) const override {
    const auto found = places_.find(name);
    if (found == places_.end()) throw FormatError(str(description(), ": there is no ", quoted_tensor_name(name)));
    const auto& [original, third] = found->second;
    auto tensor = file_->tensor(original);
    if (third >= 0) return one_third(tensor, third, original);
    return is_vae_projection(name) ? without_kernel(tensor) : tensor;
  }

 private:
  torch::Tensor one_third(const torch::Tensor& tensor, int third, const std::string& original) const {
    if (tensor.dim() == 0 || tensor.size(0) % 3 != 0) {
      throw FormatError(lorikeet::str(description(), ": ", quoted_tensor_name(original), " is ", tensor.sizes(),
                                      "; expected query, key and value, one after the other"));
    }
    const auto width = tensor.size(0) / 3;
    return tensor.slice(0, third * width, (third + 1) * width);
  }
  static bool is_vae_projection(const std::string& name) {
    return name.find("mid_block.attentions.0.to_") != std::string::npos && name.ends_with(".weight");
  }
  /// [out, in, 1, 1] or [out, in, 1] to [out, in]; another shape stays, for load_weights to refuse.
  static torch::Tensor without_kernel(torch::Tensor tensor) {
    while (tensor.dim() > 2 && tensor.size(-1) == 1) tensor = tensor.squeeze(-1);
    return tensor;
  }

  std::shared_ptr<const WeightSource> file_;
  std::string part_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, Place> places_;
};

/// The names that begin with `prefix`, without it.
std::vector<std::string> names_under(const WeightSource& file, const std::string& prefix) {
  std::vector<std::string> names;
  for (const auto& name : file.names()) {
    if (name.starts_with(prefix)) names.push_back(name.substr(prefix.size()));
  }
  return names;
}

bool is_one_of(const std::string& name, std::initializer_list<const char*> endings) {
  return std::any_of(endings.begin(), endings.end(), [&](const char* ending) { return name == ending; });
}

std::string vae_prefix(const WeightSource& file) {
  for (const auto& name : file.names()) {
    if (name.starts_with("vae.")) return "vae.";
  }
  return kOriginalVae;
}

}  // namespace

std::unique_ptr<WeightSource> original_unet(const std::shared_ptr<const WeightSource>& file) {
  const auto tensors = names_under(*file, kOriginalUNet);
  const auto names = unet_names(tensors, Layout::kOriginal);
  auto part = std::make_unique<PartSource>(file, "unet");
  for (const auto& name : tensors) part->add(names.diffusers(name).value_or(name), {kOriginalUNet + name});
  return part;
}

std::unique_ptr<WeightSource> original_vae(const std::shared_ptr<const WeightSource>& file) {
  const auto prefix = vae_prefix(*file);
  const auto tensors = names_under(*file, prefix);
  const auto names = vae_names(tensors, Layout::kOriginal);
  auto part = std::make_unique<PartSource>(file, "vae");
  for (const auto& name : tensors) {
    if (name.starts_with("loss.") || name.starts_with("model_ema.")) continue;
    part->add(names.diffusers(name).value_or(name), {prefix + name});
  }
  return part;
}

std::unique_ptr<WeightSource> original_clip(const std::shared_ptr<const WeightSource>& file) {
  auto part = std::make_unique<PartSource>(file, "text_encoder");
  for (const auto& name : names_under(*file, kOriginalClip)) {
    if (is_one_of(name, {"text_projection.weight", "logit_scale"})) continue;
    part->add(name, {kOriginalClip + name});
  }
  return part;
}

std::unique_ptr<WeightSource> original_open_clip(const std::shared_ptr<const WeightSource>& file,
                                                 std::optional<int64_t> layers) {
  constexpr int64_t kUsedLayers = 23;
  const auto tensors = names_under(*file, kOriginalOpenClip);
  const int64_t there = count_after(tensors, "transformer.resblocks.");
  const int64_t wanted = layers.value_or(kUsedLayers);
  const bool drops_last = there == wanted + 1;
  const auto names = open_clip_names(there);
  const std::string unused = str("transformer.resblocks.", there - 1, ".");
  auto part = std::make_unique<PartSource>(file, "text_encoder");
  for (const auto& name : tensors) {
    if (is_one_of(name, {"text_projection", "logit_scale", "attn_mask"})) continue;
    if (drops_last && name.starts_with(unused)) continue;
    const std::string original = kOriginalOpenClip + name;
    const size_t at = name.find(".attn.in_proj_");
    const auto layer = at == std::string::npos ? std::nullopt : names.diffusers(name.substr(0, at) + ".attn.out_proj");
    if (!layer) {
      part->add(names.diffusers(name).value_or(name), {original});
      continue;
    }
    const std::string attention = layer->substr(0, layer->rfind('.') + 1);
    const std::string kind = name.substr(at + std::string(".attn.in_proj_").size());  // weight or bias
    for (int third = 0; third < 3; ++third)
      part->add(attention + kThirds[static_cast<size_t>(third)] + "." + kind, {original, third});
  }
  return part;
}

}  // namespace lorikeet
