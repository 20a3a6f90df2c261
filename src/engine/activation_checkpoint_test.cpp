#include "engine/activation_checkpoint.h"

#include <gtest/gtest.h>

#include "engine/autocast.h"
#include "engine/random.h"

namespace lorikeet {
namespace {

struct Result {
  torch::Tensor loss, first, second, input;
};

/// Two blocks with a mask drawn from `generator`, the shared context used twice in each.
Result run(bool checkpointed, bool bf16, int* calls) {
  auto seed = make_generator(7);
  auto make = [&](torch::IntArrayRef sizes) { return torch::randn(sizes, seed).set_requires_grad(true); };
  auto first = make({8, 8}), second = make({8, 8}), context = make({4, 8});
  auto x = torch::randn({4, 8}, seed);
  auto generator = make_generator(1);
  CheckpointedGenerators scope({generator});
  AutocastScope precision({bf16, torch::kCPU, torch::kBFloat16});
  for (const auto& weight : {first, second}) {
    auto block = [weight, generator, calls](const std::vector<torch::Tensor>& in) mutable {
      ++*calls;
      auto h = torch::linear(in[0], weight).sin() * in[1];
      auto mask = torch::empty_like(h).bernoulli_(0.5, generator);
      return std::vector<torch::Tensor>{torch::linear(h * mask, weight) + in[1].exp()};
    };
    x = checkpointed ? activation_checkpoint(block, {x, context})[0] : block({x, context})[0];
  }
  auto loss = x.to(torch::kFloat).pow(2).mean();
  loss.backward();
  return {loss.detach(), first.grad(), second.grad(), context.grad()};
}

TEST(ActivationCheckpoint, GradientsAreBitIdenticalToAPlainCall) {
  for (bool bf16 : {false, true}) {
    int plain_calls = 0, calls = 0;
    const auto plain = run(false, bf16, &plain_calls);
    const auto checkpointed = run(true, bf16, &calls);
    EXPECT_EQ(plain_calls, 2);
    EXPECT_EQ(calls, 4) << "each block runs once more in backward";
    EXPECT_TRUE(torch::equal(plain.loss, checkpointed.loss));
    EXPECT_TRUE(torch::equal(plain.first, checkpointed.first));
    EXPECT_TRUE(torch::equal(plain.second, checkpointed.second));
    EXPECT_TRUE(torch::equal(plain.input, checkpointed.input));
  }
}

TEST(ActivationCheckpoint, GeneratorsAreLeftWhereAPlainCallLeavesThem) {
  auto after = [](bool checkpointed) {
    auto generator = make_generator(3);
    CheckpointedGenerators scope({generator});
    auto weight = torch::ones({4}).set_requires_grad(true);
    auto block = [generator, weight](const std::vector<torch::Tensor>&) mutable {
      return std::vector<torch::Tensor>{weight * weight * torch::rand({4}, generator)};
    };
    auto y = checkpointed ? activation_checkpoint(block, {})[0] : block({})[0];
    y.sum().backward();
    return generator_state(generator);
  };
  EXPECT_TRUE(torch::equal(after(false), after(true)));
}

TEST(ActivationCheckpoint, IsAPlainCallWithoutGradMode) {
  torch::NoGradGuard no_grad;
  int calls = 0;
  auto y = activation_checkpoint(
      [&](const std::vector<torch::Tensor>& in) {
        ++calls;
        return std::vector<torch::Tensor>{in[0] * 2};
      },
      {torch::ones({2})});
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(torch::equal(y[0], torch::full({2}, 2.0)));
}

}  // namespace
}  // namespace lorikeet
