// Times reading a LoRA file and attaching it to a Stable Diffusion 1.5 that is in memory: lora_load LORA [ROUNDS]
// The model's weights are whatever the memory holds: no number depends on them.
#include <algorithm>
#include <chrono>
#include <iostream>
#include <vector>

#include "lora/lora_file.h"
#include "pipelines/lora_adapters.h"

namespace {

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

void tell(const char* what, std::vector<double> times) {
  std::sort(times.begin(), times.end());
  std::cout << what << ": median " << times[times.size() / 2] << " ms, " << times.front() << " to " << times.back()
            << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  using namespace lorikeet;
  if (argc < 2) return 2;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 20;
  StableDiffusionComponents components;
  components.unet = UNet2DConditionModel::from_config({{"block_out_channels", {320, 640, 1280, 1280}},
                                                       {"layers_per_block", 2},
                                                       {"cross_attention_dim", 768},
                                                       {"attention_head_dim", 8}});
  components.text_encoder = CLIPTextModel::from_config({{"hidden_size", 768},
                                                        {"intermediate_size", 3072},
                                                        {"num_hidden_layers", 12},
                                                        {"num_attention_heads", 12},
                                                        {"vocab_size", 49408}});
  std::vector<double> reading, attaching, both;
  for (int round = 0; round < rounds; ++round) {
    LoraAdapters adapters(components);
    const auto start = std::chrono::steady_clock::now();
    const auto file = read_lora_file(argv[1]);
    reading.push_back(milliseconds_since(start));
    const auto middle = std::chrono::steady_clock::now();
    const auto report = adapters.load(file, "lora", /*strict=*/true);
    attaching.push_back(milliseconds_since(middle));
    both.push_back(milliseconds_since(start));
    if (round == 0) {
      std::cout << report.unet_layers << " layers of the UNet, " << report.text_encoder_layers
                << " of the text encoder; first time " << both.front() << " ms\n";
    }
    adapters.remove_all();
  }
  tell("read", reading);
  tell("attach", attaching);
  tell("both", both);
}
