#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <sstream>

#include "core/errors.h"
#include "core/text.h"
#include "engine/random.h"
#include "io/safetensors.h"
#include "lora/attach.h"
#include "lora/compare.h"
#include "lora/fuse.h"
#include "lora/inspect.h"
#include "lora/lora_fuzz_support.h"
#include "lora/lora_writer.h"
#include "lora/merge.h"
#include "lora/resize.h"
#include "models/layers.h"

namespace lorikeet {
namespace {

constexpr double kScale = 0.7;

std::shared_ptr<AdaptableLayer> layer_of(const std::string& path, const torch::Tensor& weight) {
  std::shared_ptr<AdaptableLayer> layer;
  if (weight.dim() == 1) {
    layer = std::make_shared<LayerNorm>(weight.size(0), 1e-5);
  } else if (weight.dim() == 2) {
    layer = std::make_shared<AdaptableLinear>(weight.size(1), weight.size(0));
  } else {
    const int64_t kernel = weight.size(2);
    layer = std::make_shared<AdaptableConv2d>(weight.size(1), weight.size(0), kernel, 1, kernel / 2);
  }
  torch::NoGradGuard no_grad;
  layer->weight.copy_(weight);
  layer->bias.fill_(0.25);
  return layer;
}

void put(torch::nn::Module& model, const std::string& path, std::shared_ptr<AdaptableLayer> layer) {
  auto* parent = &model;
  std::istringstream words(path);
  std::string word, last;
  for (std::getline(words, last, '.'); std::getline(words, word, '.'); last = word) {
    const auto children = parent->named_children();
    if (const auto* child = children.find(last)) {
      parent = child->get();
    } else {
      parent = parent->register_module(last, std::make_shared<torch::nn::Module>()).get();
    }
  }
  parent->register_module(last, std::move(layer));
}

torch::Tensor input_of(const AdaptableLayer& layer) {
  const auto count = layer.weight.dim() == 1 ? layer.weight.size(0) : layer.weight.size(1);
  const auto values = torch::linspace(-1, 1, 2 * 25 * count);
  return layer.weight.dim() == 4 ? values.reshape({2, count, 5, 5}) : values.reshape({2, 25, count});
}

/// Whether floats can be expected to come out alike on two ways.
bool is_tame(const LayerChange& change) {
  double sum = std::abs(change.strength);
  for (const auto& [role, factor] : change.factors) sum = std::max(sum, factor.abs().max().item<double>());
  return sum < 100;
}

/// Each layer by itself, with all that is in its slots.
std::vector<torch::Tensor> outputs(torch::nn::Module& model, const LoraLayers& attached) {
  const AdaptableLayers layers(model);
  std::vector<torch::Tensor> results;
  for (const auto& [path, adapter] : attached) {
    auto& layer = *layers.find(path);
    results.push_back(layer.forward(input_of(layer)));
  }
  return results;
}

std::map<std::string, torch::Tensor> copied_weights(torch::nn::Module& model) {
  std::map<std::string, torch::Tensor> copies;
  for (const auto& parameter : model.named_parameters()) copies[parameter.key()] = parameter.value().detach().clone();
  return copies;
}

void draw_with(torch::nn::Module& model, const std::vector<LayerChange>& changes) {
  std::vector<UnmatchedChange> unmatched;
  const auto attached = attach_lora(model, changes, torch::kFloat, unmatched);
  EXPECT_EQ(attached.size() + unmatched.size(), changes.size());
  set_lora_scale(attached, kScale);
  const auto before = copied_weights(model);
  const auto live = outputs(model, attached);
  const auto originals = fuse_lora(model);
  const auto fused = outputs(model, attached);
  for (size_t i = 0; i < live.size(); ++i) {
    if (!is_tame(attached[i].second->values)) continue;
    EXPECT_TRUE(live[i].isfinite().all().item<bool>()) << attached[i].first;
    const double size = std::max(1.0, fused[i].abs().max().item<double>());
    EXPECT_LT((live[i] - fused[i]).abs().max().item<double>() / size, 1e-3) << attached[i].first;
  }
  unfuse_lora(model, originals);
  detach_lora(model, attached);
  for (const auto& parameter : model.named_parameters()) {
    EXPECT_TRUE(parameter.value().equal(before.at(parameter.key()))) << parameter.key();
  }
}

/// A file that was written can be read, and says the same.
void write_in(LoraDialect dialect, const LoraFile& file, const std::filesystem::path& folder) {
  LoraWriteOptions options;
  options.dialect = dialect;
  options.metadata = file.metadata;
  const auto path = folder / "written.safetensors";
  try {
    write_lora_file(path, file, options);
  } catch (const FormatError&) {
    return;  // each dialect has its limits
  }
  try {
    const auto again = read_lora_file(path);
    if (!again.unused.empty()) return;  // a layer of a name that kohya's dialect cannot tell
    EXPECT_EQ(again.unet.size(), file.unet.size()) << dialect_name(dialect);
    EXPECT_EQ(again.text_encoder.size(), file.text_encoder.size()) << dialect_name(dialect);
  } catch (const Error& error) {
    ADD_FAILURE() << dialect_name(dialect) << " was written, but not read: " << error.what();
  }
}

/// Each may have its objections, one after the other.
void rework(const LoraFile& file) {
  TruncateOptions options;
  options.rank = 1;
  const std::function<void()> works[] = {[&] { resize_lora(file, options); },
                                         [&] {
                                           merge_concat({{file, 0.5}, {file, -2}});
                                         },
                                         [&] {
                                           merge_svd({{file, 0.5}, {file, 1}}, options);
                                         },
                                         [&] { compare_loras(file, file); }};
  for (const auto& work : works) {
    try {
      work();
    } catch (const Error&) {
      continue;
    }
  }
}

}  // namespace

FuzzModels::FuzzModels() {
  const auto file = SafetensorsFile::open("tests/data/lora/changes.safetensors");
  for (const auto& name : file.names()) {
    std::istringstream parts(name);
    std::string kind, model, path;
    std::getline(std::getline(std::getline(parts, kind, '|'), model, '|'), path, '|');
    if (kind != "base") continue;
    auto& tree = models_[model];
    if (!tree) tree = std::make_shared<torch::nn::Module>();
    put(*tree, path, layer_of(path, file.tensor(name)));
  }
}

FuzzStation take_the_road(const FuzzModels& models, const std::filesystem::path& path,
                          const std::filesystem::path& folder) {
  torch::NoGradGuard no_grad;
  auto station = FuzzStation::kRead;
  try {
    // cloneofsimo's files are of two blocks and one text layer.
    const BlockOrder order{
        {"down_blocks.0.attentions.0.transformer_blocks.0", "mid_block.attentions.0.transformer_blocks.0"}, 1};
    const auto file = read_lora_file(path, order);
    station = FuzzStation::kInspect;
    inspect_lora(file);
    station = FuzzStation::kAttach;
    const std::string size = file.dialect == LoraDialect::kCloneofsimo ? "small_" : "";
    draw_with(models.model(size + "unet"), file.unet);
    draw_with(models.model(size + "text_encoder"), file.text_encoder);
    draw_with(models.model("text_encoder_2"), file.text_encoder_2);
    station = FuzzStation::kWrite;
    for (const auto dialect : {LoraDialect::kDiffusers, LoraDialect::kPeft, LoraDialect::kKohya}) {
      write_in(dialect, file, folder);
    }
    station = FuzzStation::kRework;
    rework(file);
    return FuzzStation::kEnd;
  } catch (const Error& error) {
    EXPECT_LT(std::string(error.what()).size(), 2000u) << error.what();
    return station;
  }
}

}  // namespace lorikeet
