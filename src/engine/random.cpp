#include "engine/random.h"

#include <cstring>

namespace lorikeet {
namespace {

constexpr int64_t kTwisterWords = 624;

/// torch takes a state of the CPU's generator that stands anywhere among its words with any count of words left, and
/// then reads past them. What it writes begins with: seed (8 bytes), words left (4), seeded (4), place (8).
void check_place(const torch::Tensor& state) {
  if (state.scalar_type() != torch::kByte || state.numel() < 24) return;  // which torch refuses
  const auto bytes = state.cpu().contiguous();
  int32_t left = 0;
  uint64_t next = 0;
  std::memcpy(&left, bytes.data_ptr<uint8_t>() + 8, sizeof left);
  std::memcpy(&next, bytes.data_ptr<uint8_t>() + 16, sizeof next);
  const bool is_fresh = left == 1 && next == 0;
  TORCH_CHECK(is_fresh || (next <= kTwisterWords && left + static_cast<int64_t>(next) == kTwisterWords + 1),
              "a generator's state is at word ", next, " with ", left, " left of ", kTwisterWords);
}

}  // namespace

torch::Generator make_generator(std::optional<uint64_t> seed, torch::Device device) {
  auto generator = at::globalContext().defaultGenerator(device).clone();
  if (seed) {
    generator.set_current_seed(*seed);
  } else {
    generator.seed();
  }
  return generator;
}

torch::Tensor draw_normal(torch::IntArrayRef sizes, torch::Generator& generator, torch::TensorOptions options) {
  return torch::randn(sizes, generator, options);
}

int64_t draw_integer(int64_t low, int64_t high, torch::Generator& generator) {
  return torch::randint(low, high, {1}, generator, torch::kInt64).item<int64_t>();
}

int64_t draw_seed(torch::Generator& generator) {
  return torch::empty({}, torch::kInt64).random_(generator).item<int64_t>();
}

std::vector<int64_t> draw_permutation(int64_t n, torch::Generator& generator) {
  auto order = torch::randperm(n, generator, torch::kInt64);
  const auto* data = order.data_ptr<int64_t>();
  return {data, data + n};
}

torch::Tensor generator_state(const torch::Generator& generator) {
  auto handle = generator;  // a handle: the state is shared, only mutex() wants it mutable
  std::lock_guard lock(handle.mutex());
  return handle.get_state();
}

void set_generator_state(torch::Generator& generator, const torch::Tensor& state) {
  if (generator.device().is_cpu()) check_place(state);
  std::lock_guard lock(generator.mutex());
  generator.set_state(state);
}

}  // namespace lorikeet
