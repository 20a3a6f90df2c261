// What became of a LoRA file's contents in a model. Free of torch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lorikeet {

struct LoraReport {
  std::string adapter_name;
  std::string dialect;  // "kohya"
  int64_t unet_layers = 0, text_encoder_layers = 0;
  std::vector<std::string> words;      // of textual inversion
  std::vector<std::string> unmatched;  // what has no effect here: "unet.PATH: why", "KEY: why"
};

}  // namespace lorikeet
