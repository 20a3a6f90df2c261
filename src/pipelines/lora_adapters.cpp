#include "pipelines/lora_adapters.h"

#include <algorithm>

#include "core/errors.h"
#include "core/listed.h"
#include "core/text.h"

namespace lorikeet {
namespace {

void check_model_kind(const LoraFile& file) {
  if (!file.is_sdxl) return;
  throw FormatError("the LoRA is made for Stable Diffusion XL, this model is of Stable Diffusion 1.x or 2.x",
                    "use a LoRA made for this base model");
}

LoraLayers attach(torch::nn::Module& model, const char* component, const std::vector<LayerChange>& changes,
                  LoraReport& report) {
  std::vector<UnmatchedChange> unmatched;
  const auto dtype = module_dtype(model);
  auto layers = attach_lora(model, changes, dtype, unmatched);
  for (const auto& [path, reason] : unmatched) {
    report.unmatched.push_back(str(component, ".", path, ": ", reason));
  }
  return layers;
}

}  // namespace

LoraAdapters::Adapter& LoraAdapters::find(const std::string& name) {
  const auto found = std::find_if(adapters_.begin(), adapters_.end(), [&](const auto& a) { return a.name == name; });
  if (found != adapters_.end()) return *found;
  throw UsageError(str("no LoRA is loaded as '", name, "'"), str("loaded: ", listed(names())));
}

void LoraAdapters::refuse_while_fused(const char* action) const {
  if (fused_) throw UsageError(str("the LoRA is fused: it cannot be ", action), "call unfuse_lora first");
}

void LoraAdapters::detach(const Adapter& adapter) {
  detach_lora(*components_.unet, adapter.unet);
  detach_lora(*components_.text_encoder, adapter.text_encoder);
}

LoraReport LoraAdapters::load(const LoraFile& file, const std::string& name, bool strict) {
  refuse_while_fused("joined by another");
  const auto taken = names();
  if (std::find(taken.begin(), taken.end(), name) != taken.end()) {
    throw UsageError(str("a LoRA is loaded as '", name, "' already"), "give it another adapter_name");
  }
  check_model_kind(file);
  Adapter adapter;
  adapter.name = name;
  adapter.metadata = file.metadata;
  adapter.words = file.words;
  LoraReport report;
  report.adapter_name = name;
  report.dialect = dialect_name(file.dialect);
  for (const auto& [key, reason] : file.unused) report.unmatched.push_back(str(key, ": ", reason));
  for (const auto& change : file.text_encoder_2) {
    report.unmatched.push_back(str("text_encoder_2.", change.path, ": this model has one text encoder"));
  }
  adapter.unet = attach(*components_.unet, "unet", file.unet, report);
  adapter.text_encoder = attach(*components_.text_encoder, "text_encoder", file.text_encoder, report);
  try {
    if (adapter.unet.empty() && adapter.text_encoder.empty() && file.words.empty()) {
      throw FormatError(
          str("nothing in the LoRA fits this model: ", report.unmatched.size(), " of its ",
              file.unet.size() + file.text_encoder.size() + file.unused.size(), " parts find no place, such as ",
              report.unmatched.empty() ? "none at all" : report.unmatched.front()),
          "is the LoRA made for another base model?");
    }
    if (strict && !report.unmatched.empty()) {
      throw FormatError(
          str(report.unmatched.size(), " parts of the LoRA have no effect in this model: ", listed(report.unmatched)),
          "leave out --strict to use the rest");
    }
    words_.add(name, file.words);
  } catch (...) {
    detach(adapter);
    throw;
  }
  for (const auto& word : file.words) report.words.push_back(word.word);
  report.unet_layers = static_cast<int64_t>(adapter.unet.size());
  report.text_encoder_layers = static_cast<int64_t>(adapter.text_encoder.size());
  adapters_.push_back(std::move(adapter));
  set_active({name}, {AdapterWeight{}});
  return report;
}

void LoraAdapters::set_active(const std::vector<std::string>& names, const std::vector<AdapterWeight>& weights) {
  if (!weights.empty() && weights.size() != names.size()) {
    throw UsageError(str("there are ", weights.size(), " weights for ", names.size(), " adapters"));
  }
  refuse_while_fused("given another weight");
  std::vector<std::string> unet_paths;
  for (const auto& weight : weights) {
    if (weight.blocks.empty()) continue;
    if (unet_paths.empty()) {
      const AdaptableLayers layers(*components_.unet);
      for (const auto& [path, layer] : layers.all()) unet_paths.push_back(path);
    }
    check_block_weights(weight.blocks, unet_paths);
  }
  for (const auto& name : names) find(name);
  for (auto& adapter : adapters_) adapter.is_active = false;
  for (size_t i = 0; i < names.size(); ++i) {
    auto& adapter = find(names[i]);
    adapter.is_active = true;
    adapter.weight = weights.empty() ? AdapterWeight{} : weights[i];
  }
  set_scale(1);
}

std::vector<std::string> LoraAdapters::active() const {
  std::vector<std::string> names;
  for (const auto& adapter : adapters_) {
    if (adapter.is_active) names.push_back(adapter.name);
  }
  return names;
}

std::vector<std::string> LoraAdapters::names() const {
  std::vector<std::string> names;
  for (const auto& adapter : adapters_) names.push_back(adapter.name);
  return names;
}

void LoraAdapters::remove(const std::string& name) {
  refuse_while_fused("removed");
  detach(find(name));
  words_.remove(name);
  std::erase_if(adapters_, [&](const auto& adapter) { return adapter.name == name; });
}

void LoraAdapters::remove_all() {
  unfuse();
  for (const auto& name : names()) remove(name);
}

void LoraAdapters::set_scale(double scale) {
  if (fused_) return;
  for (auto& adapter : adapters_) {
    const double own = adapter.is_active ? scale : 0;
    for (auto& [path, layer] : adapter.unet) layer->scale = own * adapter.weight.of_unet_layer(path);
    set_lora_scale(adapter.text_encoder, own * adapter.weight.of_text_encoder());
  }
}

void LoraAdapters::fuse(double scale) {
  if (active().empty()) throw UsageError("there is no LoRA to fuse", "call load_lora_weights first");
  if (fused_) throw UsageError("the LoRA is fused already", "call unfuse_lora first");
  set_scale(scale);
  fused_unet_ = fuse_lora(*components_.unet);
  fused_text_encoder_ = fuse_lora(*components_.text_encoder);
  fused_ = true;
}

void LoraAdapters::unfuse() {
  if (!fused_) return;
  unfuse_lora(*components_.unet, fused_unet_);
  unfuse_lora(*components_.text_encoder, fused_text_encoder_);
  fused_unet_.clear();
  fused_text_encoder_.clear();
  fused_ = false;
}

void LoraAdapters::move(torch::Device device) {
  for (auto& adapter : adapters_) {
    for (auto* layers : {&adapter.unet, &adapter.text_encoder}) {
      for (auto& [path, layer] : *layers) {
        for (auto& [role, factor] : layer->values.factors) factor = factor.to(device);
      }
    }
  }
  for (auto* originals : {&fused_unet_, &fused_text_encoder_}) {
    for (auto& [path, original] : *originals) {
      if (original.weight.defined()) original.weight = original.weight.to(device);
      if (original.bias.defined()) original.bias = original.bias.to(device);
    }
  }
}

LoraFile LoraAdapters::active_contents() const {
  const auto names = active();
  if (names.size() != 1) {
    throw UsageError(str(names.size(), " LoRAs are active; one at a time can be saved"), "call set_adapters first");
  }
  LoraFile file;
  for (const auto& adapter : adapters_) {
    if (!adapter.is_active) continue;
    file.unet = layer_changes(adapter.unet);
    file.text_encoder = layer_changes(adapter.text_encoder);
    file.words = adapter.words;
    file.metadata = adapter.metadata;
  }
  return file;
}

}  // namespace lorikeet
