// 8-bit tensors against bitsandbytes' maps (tools/reference/optimizers.py) and a slow search.
#include "training/blockwise_8bit.h"

#include <gtest/gtest.h>

#include "io/safetensors.h"

namespace lorikeet {
namespace {

Quantized quantized(const torch::Tensor& values, const torch::Tensor& map) {
  const Quantized result{torch::empty(values.sizes(), torch::kByte),
                         torch::empty({quantization_blocks(values.numel())}, torch::kFloat)};
  quantize(values, map, result);
  return result;
}

TEST(Blockwise8bit, MapsAreThoseOfBitsandbytes) {
  const auto file = SafetensorsFile::open("tests/data/optimizer_traces.safetensors");
  // Equal with torch's AVX2 and AVX512 kernels; its plain linspace rounds some values the other way.
  EXPECT_TRUE(torch::allclose(dynamic_map(true), file.tensor("map.signed"), 2e-7, 0));
  EXPECT_TRUE(torch::allclose(dynamic_map(false), file.tensor("map.unsigned"), 2e-7, 0));
}

TEST(Blockwise8bit, CodesAreTheNearest) {
  auto generator = torch::make_generator<torch::CPUGeneratorImpl>(7);
  // Over many magnitudes, and with a last block of 5.
  const auto values = torch::randn({17, 181}, generator) * torch::rand({17, 181}, generator).pow(20);
  for (const bool is_signed : {true, false}) {
    const auto map = dynamic_map(is_signed);
    const auto input = is_signed ? values : values.square();
    const auto result = quantized(input, map);
    const auto flat = input.flatten(), codes = result.codes.flatten();
    for (int64_t i = 0; i < flat.numel(); ++i) {
      const auto block = flat.slice(0, i / 256 * 256, i / 256 * 256 + 256);
      const auto scale = block.abs().max();
      EXPECT_EQ(result.scales[i / 256].item<float>(), scale.item<float>());
      const auto misses = (map - flat[i] / scale).abs();
      const auto miss = (map[codes[i].item<int64_t>()] - flat[i] / scale).abs();
      // A tie may round either way.
      EXPECT_LE(miss.item<double>(), misses.min().item<double>() * (1 + 1e-6)) << i;
    }
    const auto back = dequantize(result, map);
    EXPECT_EQ(back.sizes(), input.sizes());
    EXPECT_TRUE(torch::equal(back.flatten()[3], map[codes[3].item<int64_t>()] * result.scales[0]));
    EXPECT_TRUE(torch::equal(back.flatten()[3076], map[codes[3076].item<int64_t>()] * result.scales[12]));
  }
}

TEST(Blockwise8bit, TiesGoToTheLowerCode) {
  const auto map = dynamic_map(false);
  const auto middles = (map.slice(0, 0, 255) + map.slice(0, 1)) / 2.0;
  const auto codes = quantized(torch::cat({middles, torch::ones({1})}), map).codes;
  EXPECT_TRUE(torch::equal(codes, torch::arange(256).to(torch::kByte)));
}

TEST(Blockwise8bit, ZerosStayZeros) {
  for (const bool is_signed : {true, false}) {
    const auto map = dynamic_map(is_signed);
    const auto values = torch::cat({torch::zeros({256}), torch::ones({10})});
    EXPECT_TRUE(torch::equal(dequantize(quantized(values, map), map), values));
  }
}

TEST(Blockwise8bit, ALargestValueIsExact) {
  const auto values = torch::tensor({0.1f, -0.3f, 123.456f});
  const auto map = dynamic_map(true);
  EXPECT_EQ(dequantize(quantized(values, map), map)[2].item<float>(), 123.456f);
}

}  // namespace
}  // namespace lorikeet
