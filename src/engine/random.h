// Explicit random state: every draw names its generator. The same draws as Python's torch makes.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace lorikeet {

/// A generator on `device` (mt19937 on the CPU, Philox on a GPU), seeded as torch.Generator(device).manual_seed(seed);
/// without a seed, from the system's entropy.
torch::Generator make_generator(std::optional<uint64_t> seed, torch::Device device = torch::kCPU);

/// torch.randn(sizes, generator=..., dtype=..., device=...)
torch::Tensor draw_normal(torch::IntArrayRef sizes, torch::Generator& generator, torch::TensorOptions options);

/// torch.randint(low, high, (1,), generator=...).item()
int64_t draw_integer(int64_t low, int64_t high, torch::Generator& generator);

/// torch.empty((), dtype=torch.int64).random_(generator=...).item(): how DataLoader and RandomSampler take a seed.
int64_t draw_seed(torch::Generator& generator);

/// torch.randperm(n, generator=...).tolist()
std::vector<int64_t> draw_permutation(int64_t n, torch::Generator& generator);

/// The generator's whole state as bytes [n], and back. Setting a state of another kind, or one
/// that draws would read past, throws c10::Error.
torch::Tensor generator_state(const torch::Generator& generator);
void set_generator_state(torch::Generator& generator, const torch::Tensor& state);

}  // namespace lorikeet
