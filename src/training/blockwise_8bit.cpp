#include "training/blockwise_8bit.h"

#include <cmath>

namespace lorikeet {
namespace {

constexpr int kExponents = 7;
constexpr double kSmallestScale = 1e-38;

/// [blocks, 256], filled up with zeros.
torch::Tensor in_blocks(const torch::Tensor& values) {
  const auto missing = quantization_blocks(values.numel()) * kQuantizationBlock - values.numel();
  return torch::constant_pad_nd(values.flatten(), {0, missing}).view({-1, kQuantizationBlock});
}

}  // namespace

torch::Tensor dynamic_map(bool is_signed) {
  std::vector<torch::Tensor> parts = {torch::tensor({0.0f, 1.0f})};
  for (int i = 0; i < kExponents; ++i) {
    const auto bounds = torch::linspace(0.1, 1, (1 << (is_signed ? i : i + 1)) + 1, torch::kFloat);
    const auto means = (bounds.slice(0, 0, -1) + bounds.slice(0, 1)) / 2.0;
    parts.push_back(means * std::pow(10.0, i + 1 - kExponents));
    if (is_signed) parts.push_back(-parts.back());
  }
  return std::get<0>(torch::cat(parts).sort());
}

int64_t quantization_blocks(int64_t count) { return (count + kQuantizationBlock - 1) / kQuantizationBlock; }

torch::Tensor dequantize(const Quantized& quantized, const torch::Tensor& map) {
  const auto& codes = quantized.codes;
  const auto values = map.index_select(0, codes.flatten().to(torch::kInt));
  return in_blocks(values).mul(quantized.scales.unsqueeze(1)).flatten().slice(0, 0, codes.numel()).view(codes.sizes());
}

void quantize(const torch::Tensor& values, const torch::Tensor& map, const Quantized& into) {
  const auto blocks = in_blocks(values);
  const auto scales = blocks.abs().amax(1);
  const auto inverse = 1.0 / scales.clamp_min(kSmallestScale);
  const auto middles = (map.slice(0, 0, -1) + map.slice(0, 1)) / 2.0;
  const auto codes = torch::bucketize(blocks.mul(inverse.unsqueeze(1)), middles, /*out_int32=*/true);
  into.codes.copy_(codes.flatten().slice(0, 0, values.numel()).view(values.sizes()));
  into.scales.copy_(scales);
}

}  // namespace lorikeet
