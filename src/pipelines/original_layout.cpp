#include "pipelines/original_layout.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <utility>

#include "core/text.h"

namespace lorikeet {
namespace {

// Real models have four. What a damaged file has beyond stays without a translation.
constexpr int64_t kMaxBlocks = 64;

/// One level of the UNet on its way down or up.
struct Block {
  int64_t resnets = 0;
  bool attentions = false;
  bool resamples = false;  // a downsampler or an upsampler follows
};

struct UNetLayout {
  std::vector<Block> down, up;  // up: innermost first
};

bool any_starts_with(const std::vector<std::string>& names, const std::string& prefix) {
  for (const auto& name : names) {
    if (name.starts_with(prefix)) return true;
  }
  return false;
}

/// The original layout numbers layers through; a resampler ends a block, before (down) or with (up) its last layer.
UNetLayout layout_of_original(const std::vector<std::string>& names) {
  UNetLayout layout;
  const std::set<std::string> known(names.begin(), names.end());
  Block block;
  const int64_t inputs = count_after(names, "input_blocks."), outputs = count_after(names, "output_blocks.");
  for (int64_t i = 1; i < inputs; ++i) {
    if (known.contains(str("input_blocks.", i, ".0.op.weight"))) {
      block.resamples = true;
      layout.down.push_back(std::exchange(block, {}));
      continue;
    }
    ++block.resnets;
    block.attentions = block.attentions || known.contains(str("input_blocks.", i, ".1.proj_in.weight"));
  }
  if (block.resnets > 0) layout.down.push_back(std::exchange(block, {}));
  for (int64_t i = 0; i < outputs; ++i) {
    ++block.resnets;
    block.attentions = block.attentions || known.contains(str("output_blocks.", i, ".1.proj_in.weight"));
    for (const char* place : {".1.conv.weight", ".2.conv.weight"}) {
      block.resamples = block.resamples || known.contains(str("output_blocks.", i, place));
    }
    if (block.resamples) layout.up.push_back(std::exchange(block, {}));
  }
  if (block.resnets > 0) layout.up.push_back(block);
  return layout;
}

std::vector<Block> blocks_of_diffusers(const std::vector<std::string>& names, const std::string& prefix,
                                       const std::string& resampler) {
  std::vector<Block> blocks;
  const int64_t count = std::min(count_after(names, prefix), kMaxBlocks);
  for (int64_t i = 0; i < count; ++i) {
    const std::string block = str(prefix, i, ".");
    blocks.push_back({count_after(names, block + "resnets."), any_starts_with(names, block + "attentions."),
                      any_starts_with(names, block + resampler)});
  }
  return blocks;
}

constexpr std::array<std::pair<const char*, const char*>, 6> kResnetParts = {{{"in_layers.0", "norm1"},
                                                                              {"in_layers.2", "conv1"},
                                                                              {"emb_layers.1", "time_emb_proj"},
                                                                              {"out_layers.0", "norm2"},
                                                                              {"out_layers.3", "conv2"},
                                                                              {"skip_connection", "conv_shortcut"}}};

void add_resnet(ModuleNames& names, const std::string& original, const std::string& diffusers) {
  for (const auto& [ours, theirs] : kResnetParts) names.add(original + "." + ours, diffusers + "." + theirs);
}

/// A VAE's residual block, whose parts but one are called the same.
void add_vae_resnet(ModuleNames& names, const std::string& original, const std::string& diffusers) {
  for (const char* part : {"norm1", "conv1", "norm2", "conv2"}) {
    names.add(original + "." + part, diffusers + "." + part);
  }
  names.add(original + ".nin_shortcut", diffusers + ".conv_shortcut");
}

void add_vae_middle(ModuleNames& names, const std::string& side) {
  add_vae_resnet(names, side + "mid.block_1", side + "mid_block.resnets.0");
  add_vae_resnet(names, side + "mid.block_2", side + "mid_block.resnets.1");
  const std::string original = side + "mid.attn_1.", diffusers = side + "mid_block.attentions.0.";
  names.add(original + "norm", diffusers + "group_norm");
  struct Projection {
    const char *original, *diffusers, *old;
  };
  for (const auto& [ours, theirs, old] :
       std::to_array<Projection>({{"q", "to_q", "query"}, {"k", "to_k", "key"}, {"v", "to_v", "value"}})) {
    names.add(original + ours, diffusers + theirs);
    names.add_old(original + ours, diffusers + old);
  }
  names.add(original + "proj_out", diffusers + "to_out.0");
  names.add_old(original + "proj_out", diffusers + "proj_attn");
}

}  // namespace

int64_t count_after(const std::vector<std::string>& names, const std::string& prefix) {
  std::set<int64_t> numbers;
  for (const auto& name : names) {
    if (!name.starts_with(prefix)) continue;
    int64_t number = -1;
    const char* end = name.data() + name.size();
    const auto read = std::from_chars(name.data() + prefix.size(), end, number);
    if (read.ec == std::errc() && read.ptr != end && *read.ptr == '.') numbers.insert(number);
  }
  int64_t count = 0;
  while (numbers.contains(count)) ++count;
  return count;
}

ModuleNames unet_names(const std::vector<std::string>& tensors, Layout layout) {
  const auto blocks = layout == Layout::kOriginal
                          ? layout_of_original(tensors)
                          : UNetLayout{blocks_of_diffusers(tensors, "down_blocks.", "downsamplers."),
                                       blocks_of_diffusers(tensors, "up_blocks.", "upsamplers.")};
  ModuleNames names;
  names.add("time_embed.0", "time_embedding.linear_1");
  names.add("time_embed.2", "time_embedding.linear_2");
  names.add("input_blocks.0.0", "conv_in");
  names.add("out.0", "conv_norm_out");
  names.add("out.2", "conv_out");
  add_resnet(names, "middle_block.0", "mid_block.resnets.0");
  names.add("middle_block.1", "mid_block.attentions.0");
  add_resnet(names, "middle_block.2", "mid_block.resnets.1");
  int64_t at = 1;
  for (size_t b = 0; b < blocks.down.size(); ++b) {
    const std::string block = str("down_blocks.", b);
    for (int64_t layer = 0; layer < blocks.down[b].resnets; ++layer, ++at) {
      add_resnet(names, str("input_blocks.", at, ".0"), str(block, ".resnets.", layer));
      if (blocks.down[b].attentions) names.add(str("input_blocks.", at, ".1"), str(block, ".attentions.", layer));
    }
    if (blocks.down[b].resamples) names.add(str("input_blocks.", at++, ".0.op"), block + ".downsamplers.0.conv");
  }
  at = 0;
  for (size_t b = 0; b < blocks.up.size(); ++b) {
    const std::string block = str("up_blocks.", b);
    for (int64_t layer = 0; layer < blocks.up[b].resnets; ++layer, ++at) {
      add_resnet(names, str("output_blocks.", at, ".0"), str(block, ".resnets.", layer));
      if (blocks.up[b].attentions) names.add(str("output_blocks.", at, ".1"), str(block, ".attentions.", layer));
    }
    const int place = blocks.up[b].attentions ? 2 : 1;
    if (blocks.up[b].resamples) {
      names.add(str("output_blocks.", at - 1, ".", place, ".conv"), block + ".upsamplers.0.conv");
    }
  }
  return names;
}

ModuleNames vae_names(const std::vector<std::string>& tensors, Layout layout) {
  const bool original = layout == Layout::kOriginal;
  ModuleNames names;
  for (const char* plain : {"quant_conv", "post_quant_conv", "encoder.conv_in", "encoder.conv_out", "decoder.conv_in",
                            "decoder.conv_out"}) {
    names.add(plain, plain);
  }
  struct Side {
    const char *name, *original, *diffusers, *original_resampler, *diffusers_resampler;
  };
  for (const auto& side :
       std::to_array<Side>({{"encoder.", "down.", "down_blocks.", ".downsample.conv", ".downsamplers.0.conv"},
                            {"decoder.", "up.", "up_blocks.", ".upsample.conv", ".upsamplers.0.conv"}})) {
    const std::string name = side.name;
    names.add(name + "norm_out", name + "conv_norm_out");
    add_vae_middle(names, name);
    const std::string prefix = name + (original ? side.original : side.diffusers);
    const int64_t blocks = std::min(count_after(tensors, prefix), kMaxBlocks);
    for (int64_t b = 0; b < blocks; ++b) {
      // The original counts blocks from the picture on, Diffusers in the order in which they run.
      const int64_t running = name == "encoder." ? b : blocks - 1 - b;
      const std::string ours = str(name, side.original, b), theirs = str(name, side.diffusers, running);
      const std::string counted = original ? ours + ".block." : theirs + ".resnets.";
      const int64_t layers = count_after(tensors, counted);
      for (int64_t layer = 0; layer < layers; ++layer) {
        add_vae_resnet(names, str(ours, ".block.", layer), str(theirs, ".resnets.", layer));
      }
      names.add(ours + side.original_resampler, theirs + side.diffusers_resampler);
    }
  }
  return names;
}

ModuleNames open_clip_names(int64_t layers) {
  ModuleNames names;
  names.add("positional_embedding", "text_model.embeddings.position_embedding.weight");
  names.add("token_embedding", "text_model.embeddings.token_embedding");
  names.add("ln_final", "text_model.final_layer_norm");
  for (int64_t i = 0; i < layers; ++i) {
    const std::string ours = str("transformer.resblocks.", i, "."), theirs = str("text_model.encoder.layers.", i, ".");
    names.add(ours + "ln_1", theirs + "layer_norm1");
    names.add(ours + "ln_2", theirs + "layer_norm2");
    names.add(ours + "mlp.c_fc", theirs + "mlp.fc1");
    names.add(ours + "mlp.c_proj", theirs + "mlp.fc2");
    names.add(ours + "attn.out_proj", theirs + "self_attn.out_proj");
  }
  return names;
}

}  // namespace lorikeet
