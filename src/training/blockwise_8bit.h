// Tensors in 8 bits: a code per value into a map of 256, scaled block by block. Source: Dettmers et al. 2022,
// https://arxiv.org/abs/2110.02861 (dynamic quantization); bitsandbytes' create_dynamic_map and quantize_blockwise.
#pragma once

#include <torch/types.h>

namespace lorikeet {

constexpr int64_t kQuantizationBlock = 256;

/// [256] ascending float32: finer near zero. Signed from -0.993 to 1, unsigned from 0 to 1.
torch::Tensor dynamic_map(bool is_signed);

/// Blocks that `count` values fill, the last one perhaps not wholly.
int64_t quantization_blocks(int64_t count);

struct Quantized {
  torch::Tensor codes;   // uint8, any shape
  torch::Tensor scales;  // float32 [blocks], the largest magnitude of each
};

/// The float32 values of codes, in the codes' shape.
torch::Tensor dequantize(const Quantized& quantized, const torch::Tensor& map);

/// Overwrites codes and scales with the codes nearest to `values` (contiguous float32, as many as there are codes); of
/// two equally near ones the lower.
void quantize(const torch::Tensor& values, const torch::Tensor& map, const Quantized& into);

}  // namespace lorikeet
