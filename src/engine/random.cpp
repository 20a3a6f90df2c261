#include "engine/random.h"

namespace lorikeet {

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
  std::lock_guard lock(generator.mutex());
  generator.set_state(state);
}

}  // namespace lorikeet
