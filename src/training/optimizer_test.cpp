// What all optimizers promise: to go on from a checkpoint, to refuse others, to leave alone what has no gradient.
#include "training/optimizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "io/safetensors.h"
#include "training/gradient_clipping.h"
#include "training/optimizer_test_support.h"

namespace lorikeet {
namespace {

OptimizerOptions named(const std::string& name) {
  OptimizerOptions options;
  options.name = name;
  return options;
}

double usual_rate(const std::string& name) { return name == "prodigy" ? 1 : 1e-2; }

void train(Optimizer& optimizer, const std::vector<TrainedParameter>& parameters, int64_t from, int64_t to,
           double rate) {
  for (int64_t step = from; step < to; ++step) {
    set_small_gradients(parameters, step);
    optimizer.step(rate);
  }
}

void expect_equal(const std::vector<TrainedParameter>& ours, const std::vector<TrainedParameter>& theirs) {
  for (size_t i = 0; i < ours.size(); ++i) {
    EXPECT_TRUE(torch::equal(ours[i].value, theirs[i].value)) << ours[i].name;
  }
}

/// As a checkpoint keeps it: tensors in a safetensors file, numbers as JSON text.
Optimizer::State through_files(const Optimizer::State& state, const std::string& test) {
  const auto path = std::filesystem::temp_directory_path() / ("lorikeet_optimizer_" + test + ".safetensors");
  write_safetensors(path, state.tensors);
  const auto file = SafetensorsFile::open(path);
  Optimizer::State read;
  for (const auto& name : file.names()) read.tensors.emplace_back(name, file.tensor(name).clone());
  read.numbers = nlohmann::json::parse(nlohmann::json(state.numbers).dump()).get<std::map<std::string, double>>();
  std::filesystem::remove(path);
  return read;
}

class EveryOptimizer : public testing::TestWithParam<std::string> {
 protected:
  std::string name_ = GetParam();
  double rate_ = usual_rate(name_);
};

TEST_P(EveryOptimizer, GoesOnFromACheckpointBitForBit) {
  const auto whole = small_problem(), half = small_problem(), other = small_problem();
  train(*make_optimizer(named(name_), whole), whole, 0, 10, rate_);
  const auto first = make_optimizer(named(name_), half);
  train(*first, half, 0, 5, rate_);
  const auto second = make_optimizer(named(name_), other);
  {
    torch::NoGradGuard no_grad;
    for (size_t i = 0; i < half.size(); ++i) other[i].value.copy_(half[i].value);
  }
  second->restore(through_files(first->state(), name_));
  train(*second, other, 5, 10, rate_);
  expect_equal(other, whole);
}

TEST_P(EveryOptimizer, SwitchesPointsWithoutChangingABit) {
  const auto plain = small_problem(), switched = small_problem();
  train(*make_optimizer(named(name_), plain), plain, 0, 6, rate_);
  const auto optimizer = make_optimizer(named(name_), switched);
  for (int64_t step = 0; step < 6; ++step) {
    for (const bool training : {false, false, true, true}) optimizer->set_training(training);
    train(*optimizer, switched, step, step + 1, rate_);
  }
  expect_equal(switched, plain);
}

TEST_P(EveryOptimizer, TakesValuesThatWereLoadedLater) {
  const auto before = small_problem(), after = small_problem();
  const auto load = [](const std::vector<TrainedParameter>& parameters) {
    torch::NoGradGuard no_grad;
    for (const auto& parameter : parameters) parameter.value.add_(0.5);
  };
  load(before);
  const auto one = make_optimizer(named(name_), before), two = make_optimizer(named(name_), after);
  load(after);
  train(*one, before, 0, 4, rate_);
  train(*two, after, 0, 4, rate_);
  expect_equal(after, before);
}

TEST_P(EveryOptimizer, LeavesAloneWhatHasNoGradient) {
  const auto parameters = small_problem(), untouched = small_problem();
  const auto optimizer = make_optimizer(named(name_), parameters);
  optimizer->step(rate_);
  expect_equal(parameters, untouched);
  set_small_gradients(parameters, 0);
  const auto gradient = parameters[3].value.grad().clone();
  parameters[0].value.mutable_grad().reset();
  optimizer->step(rate_);
  EXPECT_TRUE(torch::equal(parameters[0].value, untouched[0].value));
  EXPECT_FALSE(torch::equal(parameters[3].value, untouched[3].value));
  EXPECT_TRUE(torch::equal(parameters[3].value.grad(), gradient));
  optimizer->zero_grad();
  EXPECT_FALSE(parameters[3].value.grad().defined());
}

TEST_P(EveryOptimizer, RefusesARateBeyondFloats) {
  const auto parameters = small_problem();
  const auto optimizer = make_optimizer(named(name_), parameters);
  set_small_gradients(parameters, 0);
  EXPECT_THROW(optimizer->step(1e300), NumericError);
}

TEST_P(EveryOptimizer, RefusesAnotherState) {
  const auto parameters = small_problem();
  const auto optimizer = make_optimizer(named(name_), parameters);
  train(*optimizer, parameters, 0, 2, rate_);
  const auto good = through_files(optimizer->state(), name_);
  const auto refuses = [&](const auto& damage, const char* what) {
    auto state = good;
    damage(state);
    EXPECT_THROW(optimizer->restore(state), FormatError) << what;
  };
  using State = Optimizer::State;
  refuses([](State& s) { s = {}; }, "nothing");
  refuses([](State& s) { s.tensors.pop_back(); }, "a tensor missing");
  refuses([](State& s) { s.tensors.emplace_back("third.up", torch::zeros({3, 7})); }, "a tensor too many");
  refuses([](State& s) { s.tensors[0].second = torch::zeros({3, 1}); }, "another shape");
  refuses([](State& s) { s.tensors[0].second = s.tensors[0].second.to(torch::kDouble); }, "another dtype");
  refuses([](State& s) { s.numbers["of_the_beast"] = 666; }, "a number too many");
  for (const auto& [number, value] : good.numbers) {
    refuses([&](State& s) { s.numbers.erase(number); }, "a number missing");
    refuses([&](State& s) { s.numbers[number] = std::numeric_limits<double>::infinity(); }, "not finite");
    if (number != "steps") continue;
    refuses([&](State& s) { s.numbers[number] = -7; }, "a negative count");
    refuses([&](State& s) { s.numbers[number] = 1.5; }, "a broken count");
    refuses([&](State& s) { s.numbers[number] = 1e300; }, "a count beyond all");
  }
  // Nothing was changed on the way.
  const auto now = optimizer->state();
  const std::map<std::string, torch::Tensor> tensors(now.tensors.begin(), now.tensors.end());
  for (const auto& [name, tensor] : good.tensors) EXPECT_TRUE(torch::equal(tensors.at(name), tensor)) << name;
  EXPECT_EQ(now.numbers, good.numbers);
}

INSTANTIATE_TEST_SUITE_P(All, EveryOptimizer, testing::ValuesIn(optimizer_names()));

TEST(AdamW, FollowsPythonsTraceWithClipping) {
  const auto trace = nlohmann::json::parse(read_file("tests/data/optimizer_reference.json"))["adamw"];
  const auto parameter = torch::linspace(-1, 1, 5).set_requires_grad(true);
  const auto optimizer = make_optimizer({"adamw", 0.8, 0.95, 0.1, 1e-6}, {{"x", parameter}});
  for (int step = 0; step < 6; ++step) {
    parameter.mutable_grad() = torch::cos(torch::arange(5.0) + step) * (step + 1);
    const auto norm = clip_gradient_norm({parameter}, 3.0);
    EXPECT_FLOAT_EQ(norm.item<float>(), trace["norms"][step].get<float>());
    optimizer->step(0.05);
    const auto expected = torch::tensor(trace["values"][step].get<std::vector<float>>());
    EXPECT_TRUE(torch::equal(parameter.detach(), expected)) << "step " << step;
  }
}

TEST(AdamW, KeepsTheDtypeOfItsParameters) {
  const auto parameter = torch::ones({3}, torch::kBFloat16).set_requires_grad(true);
  const auto optimizer = make_optimizer({}, {{"x", parameter}});
  EXPECT_EQ(optimizer->state().tensors[0].second.scalar_type(), torch::kBFloat16);
  EXPECT_THROW(make_optimizer(named("lion"), {{"x", parameter}}), UsageError);
}

TEST(AdamW8bit, KeepsOnlyLargeTensorsInBytes) {
  const auto state = make_optimizer(named("adamw8bit"), small_problem())->state();
  for (const auto& [name, tensor] : state.tensors) {
    const bool bytes = name == "first.down" || name == "second.down";
    EXPECT_EQ(tensor.scalar_type(), bytes ? torch::kByte : torch::kFloat) << name;
  }
}

TEST(RateFactor, IsALargerRate) {
  // Prodigy's is below.
  for (const std::string name : {"adamw", "adamw8bit", "adafactor", "lion", "schedulefree"}) {
    const auto faster = small_problem();
    auto factored = small_problem();
    for (auto& parameter : factored) parameter.rate_factor = 2;
    train(*make_optimizer(named(name), faster), faster, 0, 4, 2e-2);
    train(*make_optimizer(named(name), factored), factored, 0, 4, 1e-2);
    expect_equal(factored, faster);
    EXPECT_FALSE(torch::equal(factored[1].value, small_problem()[1].value)) << name;
  }
}

TEST(Prodigy, RateFactorIsAnotherUnit) {
  auto options = named("prodigy");
  options.epsilon = 1e-30;
  auto factored = small_problem(), scaled = small_problem();
  {
    torch::NoGradGuard no_grad;
    for (auto& parameter : factored) parameter.rate_factor = 2;
    for (const auto& parameter : scaled) parameter.value.div_(2);
  }
  const auto one = make_optimizer(options, factored), two = make_optimizer(options, scaled);
  for (int64_t step = 0; step < 8; ++step) {
    set_small_gradients(factored, step);
    set_small_gradients(scaled, step);
    for (const auto& parameter : scaled) parameter.value.mutable_grad().mul_(2);
    one->step(1);
    two->step(1);
  }
  EXPECT_GT(one->effective_rate(1), 2e-6);
  EXPECT_EQ(one->effective_rate(1), two->effective_rate(1));
  for (size_t i = 0; i < factored.size(); ++i) EXPECT_TRUE(torch::equal(factored[i].value, scaled[i].value * 2));
}

TEST(Prodigy, WaitsForTheFirstRateAndTheFirstGradient) {
  const auto parameters = small_problem();
  const auto optimizer = make_optimizer(named("prodigy"), parameters);
  set_small_gradients(parameters, 0);
  optimizer->step(0);
  for (const auto& parameter : parameters) parameter.value.mutable_grad().zero_();
  optimizer->step(1);
  expect_equal(parameters, small_problem());
  EXPECT_EQ(optimizer->state().numbers.at("steps"), 0);
  EXPECT_EQ(optimizer->effective_rate(0.5), 0.5e-6);
}

TEST(ScheduleFree, HasAnotherPointToUse) {
  const auto parameters = small_problem();
  const auto optimizer = make_optimizer(named("schedulefree"), parameters);
  train(*optimizer, parameters, 0, 5, 1e-2);
  const auto training_point = parameters[1].value.detach().clone();
  optimizer->set_training(false);
  EXPECT_FALSE(torch::equal(parameters[1].value, training_point));
  EXPECT_THROW(optimizer->step(1e-2), std::logic_error);
  EXPECT_THROW(optimizer->state(), std::logic_error);
  EXPECT_THROW(optimizer->restore({}), std::logic_error);
  optimizer->set_training(true);
  EXPECT_TRUE(torch::equal(parameters[1].value, training_point));
}

TEST(OptimizerOptions, DefaultsAreTheReferences) {
  EXPECT_EQ(optimizer_names(),
            (std::vector<std::string>{"adamw", "adamw8bit", "adafactor", "lion", "prodigy", "schedulefree"}));
  EXPECT_EQ(with_defaults(named("lion")).beta2, 0.99);
  EXPECT_EQ(with_defaults(named("adamw")).weight_decay, 1e-2);
  EXPECT_EQ(with_defaults(named("prodigy")).weight_decay, 0);
  EXPECT_FALSE(with_defaults(named("adafactor")).beta1.has_value());
}

TEST(OptimizerOptions, RefuseWhatCannotBe) {
  const auto refuses = [](const std::string& name, const auto& change) {
    auto options = named(name);
    change(options);
    EXPECT_THROW(with_defaults(options), UsageError) << name;
  };
  using O = OptimizerOptions;
  refuses("adam", [](O&) {});
  for (const double beta : {-0.1, 1.0, std::numeric_limits<double>::quiet_NaN()}) {
    refuses("adamw", [&](O& o) { o.beta1 = beta; });
    refuses("lion", [&](O& o) { o.beta2 = beta; });
  }
  for (const double bad : {-1.0, std::numeric_limits<double>::infinity()}) {
    refuses("adamw8bit", [&](O& o) { o.weight_decay = bad; });
    refuses("adamw", [&](O& o) { o.epsilon = bad; });
    refuses("prodigy", [&](O& o) { o.d_coef = bad; });
  }
  refuses("prodigy", [](O& o) { o.d_coef = 0; });
  refuses("prodigy", [](O& o) { o.epsilon = 0; });
  refuses("prodigy", [](O& o) { o.beta1 = 0; });
  refuses("schedulefree", [](O& o) { o.beta1 = 0; });
  refuses("adafactor", [](O& o) { o.beta1 = 0.9; });
  refuses("adafactor", [](O& o) { o.epsilon = 1e-8; });
  refuses("lion", [](O& o) { o.epsilon = 1e-8; });
  refuses("adamw", [](O& o) { o.d_coef = 2; });
  refuses("adamw", [](O& o) { o.safeguard_warmup = true; });
  refuses("lion", [](O& o) { o.use_bias_correction = true; });
}

TEST(Optimizer, WantsEachNameOnce) {
  auto parameters = small_problem();
  parameters[1].name = parameters[0].name;
  EXPECT_THROW(make_optimizer({}, parameters), std::logic_error);
}

TEST(ClipGradientNorm, LeavesNothingUndefined) {
  auto without = torch::zeros({3}).set_requires_grad(true);
  EXPECT_EQ(clip_gradient_norm({without}, 1.0).item<float>(), 0.0f);
}

}  // namespace
}  // namespace lorikeet
