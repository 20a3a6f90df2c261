// What the tests of LoRA algebra share.
#pragma once

#include <torch/types.h>

#include <vector>

#include "engine/random.h"
#include "lora/low_rank.h"

namespace lorikeet {

/// Random tensors of one test.
class Draws {
 public:
  explicit Draws(uint64_t seed = 1) : generator_(make_generator(seed)) {}
  torch::Tensor operator()(std::vector<int64_t> sizes) { return draw_normal(sizes, generator_, torch::kFloat); }

 private:
  torch::Generator generator_;
};

/// |found - expected| / |expected|.
inline double relative(const torch::Tensor& found, const torch::Tensor& expected) {
  return frobenius_norm(found.to(torch::kDouble) - expected.to(torch::kDouble)) / frobenius_norm(expected);
}

inline TruncateOptions keep_rank(int64_t rank) {
  TruncateOptions options;
  options.rank = rank;
  return options;
}
inline TruncateOptions keep_energy(double share) {
  TruncateOptions options;
  options.keep_energy = share;
  return options;
}

}  // namespace lorikeet
