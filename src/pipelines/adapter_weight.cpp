#include "pipelines/adapter_weight.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <regex>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

constexpr const char* kTextEncoder = "text_encoder";
constexpr const char* kExamples = "for example down=0.5, mid=1, up.block_1=0.4, up.block_1.0=0.2 or text_encoder=0";

std::vector<std::string> words(const std::string& path) {
  std::vector<std::string> parts(1);
  for (const char c : path) {
    if (c == '.') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

/// "down_blocks.1.resnets.0.conv1" -> down, down.block_1, down.block_1.0; nothing for a layer outside the blocks.
std::vector<std::string> names_of(const std::string& path) {
  const auto parts = words(path);
  if (parts[0] == "mid_block") return {"mid"};
  const std::string side = parts[0] == "down_blocks" ? "down" : parts[0] == "up_blocks" ? "up" : "";
  if (side.empty() || parts.size() < 4) return {};
  const std::string block = side + ".block_" + parts[1];
  return {side, block, block + "." + parts[3]};
}

}  // namespace

double AdapterWeight::of_unet_layer(const std::string& path) const {
  double block = 1;
  for (const auto& name : names_of(path)) {
    if (const auto found = blocks.find(name); found != blocks.end()) block = found->second;
  }
  return weight * block;
}

double AdapterWeight::of_text_encoder() const {
  const auto found = blocks.find(kTextEncoder);
  return found == blocks.end() ? weight : weight * found->second;
}

std::map<std::string, double> parse_block_weights(const std::vector<std::string>& items, const std::string& flag) {
  static const std::regex pattern(R"(text_encoder|mid|(down|up)(\.block_\d{1,3}(\.\d{1,3})?)?)");
  std::map<std::string, double> blocks;
  for (const auto& item : items) {
    const auto at = item.find('=');
    const std::string name = item.substr(0, at), text = at == std::string::npos ? "" : item.substr(at + 1);
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0' || !std::isfinite(value) || !std::regex_match(name, pattern)) {
      throw UsageError(str(flag, ": \"", item, "\" is not BLOCK=WEIGHT"), kExamples);
    }
    if (!blocks.emplace(name, value).second) throw UsageError(str(flag, " gives two weights for ", name));
  }
  return blocks;
}

void check_block_weights(const std::map<std::string, double>& blocks, const std::vector<std::string>& unet_paths) {
  for (const auto& [name, weight] : blocks) {
    if (name == kTextEncoder) continue;
    const bool found = std::any_of(unet_paths.begin(), unet_paths.end(), [&](const std::string& path) {
      if (path.find(".attentions.") == std::string::npos) return false;
      const auto names = names_of(path);
      return std::find(names.begin(), names.end(), name) != names.end();
    });
    if (found) continue;
    throw UsageError(str("no block of this UNet with attention is called ", name), kExamples);
  }
}

}  // namespace lorikeet
