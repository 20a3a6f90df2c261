// The LoRAs that a model has loaded, by name: their weights, and fusing them.
#pragma once

#include <string>
#include <vector>

#include "lora/fuse.h"
#include "lora/lora_file.h"
#include "pipelines/adapter_weight.h"
#include "pipelines/components.h"
#include "pipelines/learned_words.h"
#include "pipelines/lora_report.h"

namespace lorikeet {

/// Works on the components it is given, which must outlive it.
class LoraAdapters {
 public:
  explicit LoraAdapters(StableDiffusionComponents& components) : components_(components), words_(components) {}

  /// The new one becomes the only active one, at weight 1. With `strict` whatever has no effect is an error.
  /// Throws UsageError for a name that is taken and while fused; FormatError when nothing in the file fits the model,
  /// or it is SDXL's. Then nothing has changed.
  LoraReport load(const LoraFile& file, const std::string& name, bool strict);
  /// Makes these the active ones. Throws UsageError for an unknown name or block, or another number of weights.
  void set_active(const std::vector<std::string>& names, const std::vector<AdapterWeight>& weights);
  /// In the order of loading.
  std::vector<std::string> active() const;
  std::vector<std::string> names() const;
  void remove(const std::string& name);
  void remove_all();

  /// The scale of one call, on top of the weights; without effect while fused.
  void set_scale(double scale);
  void fuse(double scale);
  void unfuse();
  /// Adapters and the originals of fused weights are no parameters of the modules, and move by this.
  void move(torch::Device device);

  /// The active LoRA as it was loaded, apart from its weight. Throws UsageError unless exactly one is active.
  LoraFile active_contents() const;
  LearnedWords& words() { return words_; }

 private:
  struct Adapter {
    std::string name;
    LoraLayers unet, text_encoder;
    std::vector<LearnedWord> words;
    std::map<std::string, std::string> metadata;
    AdapterWeight weight;
    bool is_active = false;
  };
  Adapter& find(const std::string& name);
  void refuse_while_fused(const char* action) const;
  void detach(const Adapter& adapter);

  StableDiffusionComponents& components_;
  LearnedWords words_;
  std::vector<Adapter> adapters_;
  FusedLayers fused_unet_, fused_text_encoder_;
  bool fused_ = false;
};

}  // namespace lorikeet
