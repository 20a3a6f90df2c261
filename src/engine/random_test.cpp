// Expected numbers: Python torch 2.11.0,
//   g = torch.Generator().manual_seed(5); torch.randn((2,3), generator=g); torch.randint(0, 1000, (1,), generator=g);
//   torch.empty((), dtype=torch.int64).random_(generator=g); torch.randperm(8, generator=g)
#include "engine/random.h"

#include <gtest/gtest.h>

namespace lorikeet {
namespace {

TEST(Random, DrawsWhatPythonsTorchDraws) {
  auto generator = make_generator(5);
  const auto normal = draw_normal({2, 3}, generator, torch::kFloat);
  const auto expected = torch::tensor({{-0.4868f, -0.6038f, -0.5581f}, {0.6675f, -0.1974f, 1.9428f}});
  EXPECT_LT((normal - expected).abs().max().item<float>(), 1e-4);
  EXPECT_EQ(draw_integer(0, 1000, generator), 211);
  EXPECT_EQ(draw_seed(generator), 6532693844112640670);
  EXPECT_EQ(draw_permutation(8, generator), (std::vector<int64_t>{0, 5, 2, 1, 3, 4, 7, 6}));
}

TEST(Random, StateGoesThereAndBack) {
  auto generator = make_generator(9);
  draw_normal({3}, generator, torch::kFloat);  // leaves a cached second normal number behind
  const auto state = generator_state(generator);
  const auto first = draw_normal({5}, generator, torch::kFloat);
  set_generator_state(generator, state);
  EXPECT_TRUE(torch::equal(first, draw_normal({5}, generator, torch::kFloat)));
}

TEST(Random, TakesEveryStateThatDrawingLeadsTo) {
  auto generator = make_generator(9), other = make_generator(1);
  for (int i = 0; i < 700; ++i) {
    set_generator_state(other, generator_state(generator));
    ASSERT_EQ(draw_integer(0, 1 << 20, other), draw_integer(0, 1 << 20, generator)) << i;
  }
}

TEST(Random, RefusesStatesThatWouldReadPastTheirWords) {
  auto generator = make_generator(9);
  draw_integer(0, 2, generator);  // 624 words left, at word 1
  const auto state = generator_state(generator).clone();
  const auto with = [&](int64_t at, int64_t low, int64_t high) {
    auto damaged = state.clone();
    damaged[at].fill_(low);
    damaged[at + 1].fill_(high);
    return damaged;
  };
  for (const auto& damaged : {with(16, 0x70, 2), with(16, 2, 0), with(16, 255, 255), with(8, 3, 0), with(8, 0, 0)}) {
    EXPECT_THROW(set_generator_state(generator, damaged), c10::Error);
  }
  EXPECT_THROW(set_generator_state(generator, torch::zeros({10}, torch::kByte)), c10::Error);
  EXPECT_THROW(set_generator_state(generator, torch::zeros({5056})), c10::Error);
  EXPECT_TRUE(torch::equal(generator_state(generator), state)) << "it is as it was";
}

TEST(Random, GeneratorsWithoutASeedDiffer) {
  auto a = make_generator(std::nullopt), b = make_generator(std::nullopt);
  EXPECT_NE(draw_seed(a), draw_seed(b));
}

}  // namespace
}  // namespace lorikeet
